"""Images without a registry: built by buildah into files, loaded into a node from there.

buildah has a store of its own in the cache, so that nobody's images are touched and a build after
a change of one module takes the layers below it from the build before.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.bed import archives, base_image, mounts, node_files, pip_settings, recipe
from tests.bed.commands import run
from tests.bed.errors import BuildFailed, Unavailable
from tests.bed.locks import locked
from tests.bed.places import ROOT, cache
from tests.bed.progress import Say, last_lines

NAME: Final = "localhost/tidegate"
_KEPT: Final = 3
_SCRATCH: Final = "image-"
_ANYTHING: Final = '{"default": [{"type": "insecureAcceptAnything"}]}'


def build_image(say: Say) -> str:
    """The reference of the project's image as the checkout is now; built only if that is new.

    `archive_of` tells its file. Raises Unavailable where it cannot be built.
    """
    if not (ROOT / recipe.DOCKERFILE).exists():
        raise Unavailable("the project has no Dockerfile")
    reference = f"{NAME}:{recipe.key(ROOT, base_image.reference())}"
    archive = archive_of(reference)
    if archive.exists():
        os.utime(archive)
        return reference
    if shutil.which("buildah") is None or os.geteuid() != 0:
        raise Unavailable("to build the image takes root and buildah: install it by 'make deps'")
    base = base_image.base_image(say)
    with locked(cache() / "buildah.lock", lambda: say("waiting for another build to end")):
        if not archive.exists():
            say(f"building the image {reference}")
            _build(reference, archive, base, say)
            say("  built")
    return reference


def archive_of(reference: str) -> Path:
    """Where the archive of one of the project's images is kept."""
    name, _, tag = reference.rpartition(":")
    return cache() / "images" / f"{name.rpartition('/')[2]}-{tag}.tar"


def pause_image(binaries: Path) -> Path:
    """The archive of the image that holds a pod's namespaces, of the program `pause`."""
    program = binaries / "pause"
    content = hashlib.sha256(program.read_bytes()).hexdigest()
    archive = cache() / "images" / f"pause-{content[:12]}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        archives.write_program(archive, program, node_files.PAUSE_IMAGE)
    return archive


def load(folder: Path, archive: Path) -> None:
    """Load an archive into the node in `folder`, which has it by its name then."""
    images = ("ctr", "--address", str(node_files.socket(folder)), "--namespace", "k8s.io", "images")
    if archives.reference_in(archive) not in run([*images, "list", "--quiet"]).split():
        run([*images, "import", str(archive)])


def _build(reference: str, archive: Path, base: Path, say: Say) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    _clear()
    with tempfile.TemporaryDirectory(dir=cache(), prefix=_SCRATCH) as scratch:
        buildah = _Buildah(Path(scratch))
        buildah.run("rm", "--all")
        if not buildah.has(base_image.reference()):
            say("  taking the base image")
            buildah.run("pull", f"docker-archive:{base}")
        say("  running the Dockerfile")
        buildah.run(
            *("bud", "--isolation", "chroot", "--network", "host", "--layers", "--pull-never"),
            *("--build-arg", f"PYTHON_IMAGE={base_image.reference()}"),
            *pip_settings.secrets(Path(scratch)),
            *("--file", str(ROOT / recipe.DOCKERFILE), "--tag", reference, str(ROOT)),
        )
        say("  writing the archive")
        new = archive.with_suffix(".new")
        new.unlink(missing_ok=True)
        buildah.run("push", reference, f"docker-archive:{new}:{reference}")
        new.replace(archive)
        for old in _forget_old():
            buildah.forget(old)


def _clear() -> None:
    """Remove what builds left that were killed; whoever calls has the lock, so none goes on."""
    mounts.unmount(cache() / "buildah")
    for scratch in cache().glob(f"{_SCRATCH}*"):
        mounts.unmount(scratch)
        shutil.rmtree(scratch)


class _Buildah:
    """buildah with a store and a policy of its own."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._policy = scratch / "policy.json"
        self._policy.write_text(_ANYTHING, encoding="utf-8")
        # It makes a folder for networks even where it makes none; not in /etc.
        self._settings = scratch / "containers.conf"
        self._settings.write_text(
            f'[network]\nnetwork_config_dir = "{scratch}/networks"\n', encoding="utf-8"
        )

    def has(self, reference: str) -> bool:
        """Whether the store holds an image."""
        return self._do("inspect", "--type", "image", reference).returncode == 0

    def run(self, command: str, *arguments: str) -> None:
        """One command. Raises BuildFailed with what it said last."""
        policy = () if command == "rm" else ("--signature-policy", str(self._policy))
        done = self._do(command, *policy, *arguments)
        if done.returncode:
            raise BuildFailed(f"buildah {command} failed: {last_lines(done.stdout, 20)}")

    def forget(self, reference: str) -> None:
        """Remove an image, and the layers that no other has; one that is not there is no matter."""
        self._do("rmi", reference)

    def _do(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        store = ("--root", str(cache() / "buildah"), "--runroot", str(self._scratch / "run"))
        return subprocess.run(
            ["buildah", *store, command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=os.environ | {"TMPDIR": str(self._scratch), "CONTAINERS_CONF": str(self._settings)},
        )


def _forget_old() -> list[str]:
    """Keep the newest archives, for each change makes another; the references of the others."""
    found = (cache() / "images").glob("tidegate-*.tar")
    old = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]
    for archive in old:
        archive.unlink()
    return [f"{NAME}:{archive.stem.removeprefix('tidegate-')}" for archive in old]
