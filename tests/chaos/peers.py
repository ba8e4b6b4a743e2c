"""Whom processes are connected to, by the kernel's own account: nobody must go past a wire."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

_ESTABLISHED: Final = "01"
_TABLES: Final = ("tcp", "tcp6")
# Columns of /proc/net/tcp: proc(5).
_REMOTE: Final = 2
_STATE: Final = 3
_INODE: Final = 9


def peers_of(pid: int) -> list[int]:
    """Remote ports of a process's open TCP connections, each as often as there are."""
    sockets = _sockets(pid)
    ports: list[int] = []
    for table in _TABLES:
        rows = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        ports += [
            int(fields[_REMOTE].rpartition(":")[2], 16)
            for fields in map(str.split, rows)
            if fields[_STATE] == _ESTABLISHED and fields[_INODE] in sockets
        ]
    return ports


def bypasses(
    peers: Mapping[str, Collection[int]],
    *,
    behind: Mapping[str, Collection[int]],
    before: Mapping[str, Collection[int]],
    wanted: Mapping[str, Collection[str]],
) -> Iterator[str]:
    """Who is connected past a wire, or not at all to one that it needs.

    `peers` are processes' remote ports; `behind` a wire's real ports, `before` those of its
    proxies; `wanted` names for each wire the processes that must use it.
    """
    for name, ports in peers.items():
        for wire, real in behind.items():
            if past := sorted(set(ports) & set(real)):
                yield f"{name} is connected past the wire {wire}, to {past}"
    for wire, names in wanted.items():
        for name in names:
            if name in peers and not set(peers[name]) & set(before[wire]):
                yield f"{name} has no connection on the wire {wire}"


def _sockets(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes
