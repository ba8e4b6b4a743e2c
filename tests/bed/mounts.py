"""Mounts below a folder: found, and taken away."""

import subprocess
import time
from pathlib import Path
from typing import Final

from tests.bed.commands import run
from tests.bed.errors import StartFailed

_GONE_WITHIN: Final = 10.0
_PLENTY: Final = 8 * 2**30


def below(folder: Path, table: str | None = None) -> list[str]:
    """Mount points at or below `folder`, the deepest first. `table`: /proc/mounts."""
    if table is None:
        table = Path("/proc/self/mounts").read_text("utf-8", errors="surrogateescape")
    points = [_plain(line.split()[1]) for line in table.splitlines() if line.strip()]
    ours = [each for each in points if each == str(folder) or each.startswith(f"{folder}/")]
    return sorted(ours, key=lambda point: point.count("/"), reverse=True)


def in_memory(folder: Path) -> None:
    """Make a folder, in memory if there is plenty: it is filled and gone in half of the time."""
    folder.mkdir()
    if _available() >= _PLENTY:
        run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", folder])


def unmount(folder: Path) -> None:
    """Take all of them away. Raises StartFailed if one stays: nobody may delete through it."""
    deadline = time.monotonic() + _GONE_WITHIN
    while points := below(folder):
        for point in points:
            subprocess.run(["umount", point], capture_output=True, check=False)
        if time.monotonic() > deadline:
            raise StartFailed(f"these mounts do not go: {', '.join(points)}")


def _available() -> int:
    """Bytes of memory that the kernel could give."""
    for line in Path("/proc/meminfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return 0


def _plain(point: str) -> str:
    """A mount point without the octal escapes of the kernel's table."""
    for code in ("040", "011", "012", "134"):
        point = point.replace(f"\\{code}", chr(int(code, 8)))
    return point
