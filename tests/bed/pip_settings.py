"""Where this machine gets Python's packages from, handed to an image build as secrets.

Behind a company's mirror or proxy a build must ask the same place with the same authority, and the
image must not tell of it. A secret is there while a step runs and in no layer.
"""

import configparser
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# What says where from. What is a path of this machine's would lead nowhere in a build.
_HANDED_ON: Final = (
    *("index-url", "extra-index-url", "find-links", "trusted-host", "proxy"),
    *("timeout", "default-timeout", "retries"),
)
_AUTHORITY: Final = "/run/secrets/ca"
_AUTHORITIES: Final = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def secrets(folder: Path) -> list[str]:
    """Options for the build, `--secret …`; the files they name are written into `folder`."""
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    settings = parsed(done.stdout)
    authority = _authority(settings, os.environ)
    options = []
    text = configuration(settings, authority=authority is not None)
    if text:
        path = folder / "pip.conf"
        path.write_text(text, encoding="utf-8")
        options += ["--secret", f"id=pip_conf,src={path}"]
    if authority is not None:
        options += ["--secret", f"id=ca,src={authority}"]
    return options


def parsed(listed: str) -> dict[str, str]:
    """What `pip config list` prints, without the sections; the environment's come last and rule."""
    settings = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        settings[key] = value.strip().strip("'\"").replace("\\n", "\n")
    return settings


def configuration(settings: Mapping[str, str], *, authority: bool) -> str:
    """The pip.conf for the build; nothing if there is nothing to say.

    `authority`: the build gets certificates to trust, as the secret `ca`.
    """
    handed = {key: _reachable(settings[key]) for key in _HANDED_ON if key in settings}
    if authority:
        handed["cert"] = _AUTHORITY
    handed = {key: value for key, value in handed.items() if value}
    if not handed:
        return ""
    writer = configparser.ConfigParser(interpolation=None)
    writer["global"] = handed
    text = io.StringIO()
    writer.write(text)
    return text.getvalue()


def _reachable(value: str) -> str:
    return "\n".join(each for each in value.split() if not each.startswith(("/", "file:", "~")))


def _authority(settings: Mapping[str, str], environ: Mapping[str, str]) -> Path | None:
    named = [settings.get("cert"), *(environ.get(name) for name in _AUTHORITIES)]
    for name in named:
        if name and Path(name).is_file():
            return Path(name).resolve()
    return None
