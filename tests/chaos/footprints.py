"""What processes hold at rest: a leak is what a process holds more of after each round."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Idle connections are kept for the next call, about one for each job that ran at once; memory that
# caches may take fills slowly.
_DESCRIPTORS: Final = 400
_GROWTH: Final = 2.0
# Of a soak. Buffers and caches of a process find their size in the first fifth of it.
_SOAK_GROWTH: Final = 0.05
_FIFTHS: Final = 5


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


def growth(mebibytes: Sequence[float]) -> float:
    """By what share the last fifth of a soak's rounds is above the second, by their medians.

    Raises ValueError where there are fewer than five rounds.
    """
    size = len(mebibytes) // _FIFTHS
    if size == 0:
        raise ValueError("a soak has five rounds at least")
    second, last = mebibytes[size : 2 * size], mebibytes[-size:]
    return statistics.median(last) / statistics.median(second) - 1


def not_flat(rounds: Sequence[Mapping[str, Footprint]]) -> Iterator[str]:
    """Processes that lived through a soak and grew by more than 5 % after its beginning."""
    for name, first in rounds[0].items():
        lived = all(each[name].pid == first.pid for each in rounds)
        grown = growth([each[name].mebibytes for each in rounds])
        if not lived:
            yield f"{name} did not live through the soak"
        elif grown > _SOAK_GROWTH:
            yield f"{name} grew by {grown:.1%} in a soak"
