"""The image that the project's own is built on, where no registry can be reached: Debian's Python.

`debootstrap` makes it of packages from where the machine's own come from. The release is the
machine's too, so it is as old or as new as that.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.bed import archives
from tests.bed.errors import BuildFailed, Unavailable
from tests.bed.locks import locked
from tests.bed.places import cache
from tests.bed.progress import Say, last_lines

NAME: Final = "localhost/tidegate-base"
_PACKAGES: Final = ("python3", "python3-venv", "python-is-python3", "ca-certificates")
# Not of use in a container, and half of its size.
_WITHOUT: Final = (
    *("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man"),
    *("usr/share/locale", "usr/share/info", "debootstrap"),
)
_RECIPE: Final = 1  # to be raised when this module makes something else of the same packages


def base_image(say: Say) -> Path:
    """Its archive, made on first use. Raises Unavailable without debootstrap or root."""
    archive = cache() / "images" / f"base-{key()}.tar"
    if archive.exists():
        return archive
    if shutil.which("debootstrap") is None:
        raise Unavailable("debootstrap is missing: install it by 'make deps'")
    if os.geteuid() != 0:
        raise Unavailable("debootstrap needs root: run as root")
    with locked(archive.with_suffix(".lock"), lambda: say("waiting for another build to end")):
        if not archive.exists():
            say(f"making the base image (once; {archive})")
            _make(archive)
            say("  made")
    return archive


def reference() -> str:
    """What the base image is called."""
    return f"{NAME}:{key()}"


def key() -> str:
    """Says what the base image is made of."""
    what = (_release(), archives.architecture(), *_PACKAGES, *_WITHOUT, str(_RECIPE))
    return hashlib.sha256(" ".join(what).encode()).hexdigest()[:12]


def _make(archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="base-") as scratch:
        root, layer = Path(scratch, "root"), Path(scratch, "layer.tar")
        packages = f"--include={','.join(_PACKAGES)}"
        options = ("--variant=minbase", packages, _release(), str(root), *_mirror())
        _run("debootstrap", *options, env=os.environ | _proxy())
        for name in _WITHOUT:
            shutil.rmtree(root / name, ignore_errors=True)
        # A container gets devices of its own.
        _run(
            *("tar", "--create", "--numeric-owner", "--sort=name", "--exclude=./dev/*"),
            *("--file", str(layer), "--directory", str(root), "."),
        )
        archives.write(archive, layer, reference(), {"Cmd": ["python3"], "Env": [_PATH]})


_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _release() -> str:
    """The code name of the machine's release."""
    for line in Path("/etc/os-release").read_text("utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise Unavailable("this machine's release has no code name: debootstrap knows no other")


def _mirror() -> list[str]:
    """Where the machine's packages come from; nothing leaves the choice to debootstrap."""
    asked = ("indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    done = subprocess.run(["apt-get", *asked], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        site, _, rest = line.partition(" ")
        if rest == f"{_release()} main":
            return [site]
    return []


def _proxy() -> dict[str, str]:
    """The proxies that apt is told to use, as wget is told."""
    asked = ("shell", "HTTP", "Acquire::http::Proxy", "HTTPS", "Acquire::https::Proxy")
    done = subprocess.run(["apt-config", *asked], capture_output=True, text=True, check=False)
    said = (line.partition("=") for line in done.stdout.splitlines())
    return {f"{name.lower()}_proxy": value.strip("'") for name, _, value in said}


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env
    )
    if done.returncode:
        raise BuildFailed(f"{command[0]} failed: {last_lines(done.stdout + done.stderr)}")
