"""The tables of bench/resume.py, and its goals."""

import statistics
from collections.abc import Sequence
from typing import Final

from bench._child import calm, quantile, spread, table
from bench._resume_rounds import Turns

# p50 and p99, milliseconds.
GOALS: Final = {"in memory": (1.0, 1.0), "unknown": (2.0, 5.0), "sealed": (2.0, 5.0)}
GOAL_IDLE_KIB: Final = 20.0


def show_resume(turns: Turns, events: int) -> None:
    table(
        f"Resume of {events} events: median (least-most) of rounds, and p99 over all of them",
        ("", "running", "rounds", "p50 ms", "p95 ms", "p99 ms", "p99 of all", "without", "CPU us"),
        (
            (
                kind,
                f"{running:,}",
                f"{len(calm(some))} of {len(some)}",
                *(spread([quantile(t.waits, q) for t in calm(some)]) for q in (0.5, 0.95, 0.99)),
                f"{quantile([wait for t in calm(some) for wait in t.waits], 0.99):.1f}",
                str(sum(t.without for t in some)),
                spread([t.cpu_us for t in calm(some)], 0),
            )
            for (kind, running), some in sorted(turns.items())
        ),
    )
    for (kind, running), some in sorted(turns.items()):
        p50, p99 = (
            statistics.median(quantile(t.waits, q) for t in calm(some)) for q in (0.5, 0.99)
        )
        goal50, goal99 = GOALS[kind]
        verdict = "met" if p50 <= goal50 and p99 <= goal99 else "NOT met"
        print(
            f"  {kind}, {running:,} running: p50/p99 {p50:.1f}/{p99:.1f} ms, "
            f"goal {goal50:g}/{goal99:g} {verdict}"
        )


def show_idle(number: int, plain: Sequence[float], following: Sequence[float]) -> None:
    table(
        f"Memory of the streaming process for each of {number:,} idle sockets, KiB",
        ("", "median (least-most)"),
        (("open", spread(plain)), ("following a job", spread(following))),
    )
    verdict = "met" if statistics.median(plain) <= GOAL_IDLE_KIB else "NOT met"
    print(f"  open: goal {GOAL_IDLE_KIB:g} KiB {verdict}")
