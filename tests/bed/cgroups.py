"""The control group below which all pods of a bed live: made, searched for pids, and removed.

cgroup v2 is one tree, v1 one for each controller, and a hybrid has v1's beside an idle v2.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bed.errors import StartFailed

_FILE_SYSTEM: Final = Path("/sys/fs/cgroup")
_GONE_WITHIN: Final = 10.0


def is_v2(root: Path = _FILE_SYSTEM) -> bool:
    """Whether the one tree of v2 is all there is."""
    return (root / "cgroup.controllers").exists()


def trees(root: Path = _FILE_SYSTEM) -> list[Path]:
    """The top of each hierarchy."""
    if is_v2(root):
        return [root]
    return sorted({path.resolve() for path in root.iterdir() if (path / "cgroup.procs").exists()})


def make(name: str, root: Path = _FILE_SYSTEM) -> None:
    """The group in every hierarchy, with every controller: the kubelet wants to find it."""
    for tree in trees(root):
        group = tree / name
        group.mkdir(exist_ok=True)
        # In v1 a new group has no CPUs and no memory nodes, and nothing can be put into it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if not is_v2(root) and (group / file).exists():
                (group / file).write_text((tree / file).read_text("utf-8"), encoding="utf-8")
        if is_v2(root):
            _delegate(tree)
            _delegate(group)


def pids(name: str, root: Path = _FILE_SYSTEM) -> set[int]:
    """All processes in the group and below it."""
    found: set[int] = set()
    for tree in trees(root):
        for group in _groups(tree / name):
            with contextlib.suppress(OSError):
                found.update(map(int, (group / "cgroup.procs").read_text("utf-8").split()))
    # 0 stands for a process that this one cannot see; to kill 0 would be to kill oneself.
    return found - {0}


def remove(name: str, root: Path = _FILE_SYSTEM) -> None:
    """The group and all below it, once nothing runs there."""
    deadline = time.monotonic() + _GONE_WITHIN
    while any((tree / name).exists() for tree in trees(root)):
        for tree in trees(root):
            for group in sorted(_groups(tree / name), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
        if time.monotonic() > deadline:
            raise StartFailed(f"the control group {name} does not go")
        time.sleep(0.02)


def _groups(top: Path) -> Iterator[Path]:
    if top.is_dir():
        yield top
        for entry in top.iterdir():
            if entry.is_dir():
                yield from _groups(entry)


def _delegate(group: Path) -> None:
    controllers = (group / "cgroup.controllers").read_text("utf-8").split()
    for controller in controllers:
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="utf-8")
