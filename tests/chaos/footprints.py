"""What processes hold at rest: a leak is what a process holds more of after each round."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Idle connections are kept for the next call, about one for each job that ran at once; memory that
# caches may take fills slowly.
_DESCRIPTORS: Final = 400
_GROWTH: Final = 2.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """File descriptors, threads, and resident memory in MiB, of one process."""

    pid: int
    descriptors: int
    threads: int
    mebibytes: float


def footprint(pid: int) -> Footprint:
    """Of a process that lives."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    return Footprint(
        pid,
        sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        int(status["Threads"]),
        int(status["VmRSS"].split()[0]) / 1024,
    )


def leaks(before: Mapping[str, Footprint], after: Mapping[str, Footprint]) -> Iterator[str]:
    """What processes hold that lived through it, beyond what rest explains."""
    for name, now in after.items():
        then = before.get(name)
        if then is None or then.pid != now.pid:
            continue
        if now.descriptors > then.descriptors + _DESCRIPTORS:
            yield f"{name} held {then.descriptors} file descriptors, and holds {now.descriptors}"
        if now.mebibytes > then.mebibytes * _GROWTH:
            yield f"{name} had {then.mebibytes:.0f} MiB, and has {now.mebibytes:.0f}"
