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
# A soak is looked at by fifths.
FEWEST_ROUNDS: Final = 5
# Idle connections of the last round, and threads that a pool has not needed before.
_SOAK_DESCRIPTORS: Final = 32
_SOAK_THREADS: Final = 4
# Keep the logs of all rounds, and grow with them.
_KEEPERS: Final = "nats-"


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
        if then is None or then.pid != now.pid or name.startswith(_KEEPERS):
            continue
        if now.descriptors > then.descriptors + _DESCRIPTORS:
            yield f"{name} held {then.descriptors} file descriptors, and holds {now.descriptors}"
        if now.mebibytes > then.mebibytes * _GROWTH:
            yield f"{name} had {then.mebibytes:.0f} MiB, and has {now.mebibytes:.0f}"


def growth(held: Sequence[float]) -> float:
    """By what share the last fifth of a soak's rounds is above the second, by their medians.

    Raises ValueError where there are fewer than five rounds.
    """
    second, last = _second_and_last(held)
    return last / second - 1


def _second_and_last(held: Sequence[float]) -> tuple[float, float]:
    size = len(held) // FEWEST_ROUNDS
    if size == 0:
        raise ValueError("a soak has five rounds at least")
    return statistics.median(held[size : 2 * size]), statistics.median(held[-size:])


def not_flat(rounds: Sequence[Mapping[str, Footprint]]) -> Iterator[str]:
    """Processes that lived through a soak and hold more after its beginning: memory above 5 %."""
    if len(rounds) < FEWEST_ROUNDS:
        yield f"a soak of {len(rounds)} rounds says nothing: it takes {FEWEST_ROUNDS}"
        return
    for name, first in rounds[0].items():
        if name.startswith(_KEEPERS):
            continue
        lived = [each[name] for each in rounds if name in each and each[name].pid == first.pid]
        if len(lived) < len(rounds):
            yield f"{name} did not live through the soak"
        else:
            yield from _grown(name, lived)


def _grown(name: str, lived: Sequence[Footprint]) -> Iterator[str]:
    grown = growth([each.mebibytes for each in lived])
    if grown > _SOAK_GROWTH:
        yield f"{name} grew by {grown:.1%} in a soak"
    second, last = _second_and_last([each.descriptors for each in lived])
    if last > second + _SOAK_DESCRIPTORS:
        yield f"{name} held {second:.0f} file descriptors in a soak, and holds {last:.0f}"
    second, last = _second_and_last([each.threads for each in lived])
    if last > second + _SOAK_THREADS:
        yield f"{name} had {second:.0f} threads in a soak, and has {last:.0f}"
