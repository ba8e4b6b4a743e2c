"""What goes into the project's image: the key under which a built one is kept.

Of the Dockerfile only the sources of COPY, ADD and of bind mounts are read. Where one of them is
not plain to see, everything that git knows counts: rather a build too many than an old image.
"""

import hashlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

DOCKERFILE: Final = "Dockerfile"
_ALWAYS: Final = (DOCKERFILE, ".dockerignore")


def key(root: Path, base: str) -> str:
    """The hash of all that goes in; `base` stands for the base image."""
    dockerfile = (root / DOCKERFILE).read_text("utf-8")
    digest = hashlib.sha256(base.encode())
    for name in ingredients(dockerfile, _known(root)):
        path = root / name
        if path.is_file():
            runs = "x" if path.stat().st_mode & 0o100 else "-"
            digest.update(f"\n{name} {runs} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def ingredients(dockerfile: str, known: Iterable[str]) -> list[str]:
    """Those of the `known` files (relative to the root) that the image may hold."""
    files = sorted(known)
    patterns = [*sources(dockerfile), *_ALWAYS]
    if any(not any(_matches(name, each) for name in files) for each in sources(dockerfile)):
        return files
    return [name for name in files if any(_matches(name, pattern) for pattern in patterns)]


def sources(dockerfile: str) -> list[str]:
    """What the instructions take from the context, as they name it."""
    return [
        source.removeprefix("./").rstrip("/") or "."
        for instruction in _instructions(dockerfile)
        for source in _sources_of(instruction)
    ]


def _instructions(dockerfile: str) -> Iterator[str]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for instruction in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        if instruction.strip():
            yield instruction.strip()


def _sources_of(instruction: str) -> list[str]:
    word, _, rest = instruction.partition(" ")
    if word.upper() == "RUN":
        return [_mounted(each) for each in re.findall(r"--mount=(\S*type=bind\S*)", rest)]
    if word.upper() not in {"COPY", "ADD"}:
        return []
    flags = re.match(r"(?:--\S+\s+)*", rest)
    assert flags is not None
    if "--from=" in flags.group():
        return []
    named = rest[flags.end() :]
    words = json.loads(named) if named.startswith("[") else shlex.split(named)
    return [str(each) for each in words[:-1]]


def _mounted(mount: str) -> str:
    options = dict(each.partition("=")[::2] for each in mount.split(","))
    if "from" in options:
        return DOCKERFILE
    return options.get("source") or options.get("src") or "."


def _matches(name: str, pattern: str) -> bool:
    return pattern == "." or name.startswith(f"{pattern}/") or fnmatchcase(name, pattern)


def _known(root: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return sorted({name for name in listed.stdout.decode().split("\0") if name})
