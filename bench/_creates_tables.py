"""The tables of bench/creates.py, and its goals."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench._child import calm, quantile, spread, table
from bench._creates_start import Starts
from bench._creates_turns import SURFACES, Turn, Turns

GOALS: Final = {"grpc": 4_000, "http": 8_000}
GOAL_HALF_P99_MS: Final = 10.0
GOAL_START_P99_MS: Final = 5.0
_WORLD: Final = ("gateway", "nats", "load")


def of(turns: list[Turn], name: str) -> list[float]:
    return [made.figure(name) for made in turns]


def cpu_of(turns: Iterable[Turn | Starts], name: str) -> list[float]:
    return [made.cpu[name] for made in turns]


def count_of(turns: Sequence[Turn | Starts]) -> str:
    return f"{len(calm(turns))} of {len(turns)}"


@dataclass(frozen=True, slots=True)
class Best:
    """The highest of the median rates, and with how many callers it was held."""

    rate: float
    callers: int

    @property
    def half(self) -> "Half":
        return Half(self.rate / 2, f"half of the {self.rate:,.0f}/s held by {self.callers} callers")


@dataclass(frozen=True, slots=True)
class Half:
    """A rate, and what it is half of."""

    rate: float
    of: str


def best(turns: Turns, surface: str) -> Best:
    """What a surface took in at its best."""
    rates = [
        Best(statistics.median(of(calm(made), "rate")), callers)
        for (name, callers), made in turns.items()
        if name == surface
    ]
    return max(rates, key=lambda each: each.rate)


def show_saturation(turns: Turns) -> None:
    table(
        "Creates at saturation: median (least-most) of rounds",
        ("", "callers", "rounds", "jobs/s", "p50 ms", "gateway us", "nats us", "load us"),
        (
            (
                surface,
                str(callers),
                count_of(made),
                spread(of(calm(made), "rate"), 0),
                spread(of(calm(made), "p50_ms")),
                *(spread(cpu_of(calm(made), name), 0) for name in _WORLD),
            )
            for (surface, callers), made in sorted(turns.items())
        ),
    )
    for surface in SURFACES:
        found, goal = best(turns, surface), GOALS[surface]
        counted = calm(turns[surface, found.callers])
        spent = statistics.median(cpu_of(counted, "gateway"))
        print(
            f"  {surface}: {found.rate:,.0f}/s held by {found.callers} callers, goal {goal:,}/s "
            f"{met(found.rate >= goal)}; {1e6 / spent:,.0f}/s of a gateway core by CPU, not a rate "
            f"that was held ({spent:.0f} us, median of {len(counted)} rounds at {found.callers} "
            "callers)"
        )


def show_half(turns: Turns, halves: dict[str, Half]) -> None:
    table(
        "Creates on a schedule at half of that, from when they were due",
        ("", "due/s", "rounds", "p50 ms", "p95 ms", "p99 ms", "load late p99 ms", "gateway us"),
        (
            (
                surface,
                f"{rate:,}",
                count_of(made),
                *(spread(of(calm(made), f"{q}_ms")) for q in ("p50", "p95", "p99", "late_p99")),
                spread(cpu_of(calm(made), "gateway"), 0),
            )
            for (surface, rate), made in sorted(turns.items())
        ),
    )
    for (surface, rate), made in sorted(turns.items()):
        p99 = statistics.median(of(calm(made), "p99_ms"))
        goal = GOAL_HALF_P99_MS
        print(
            f"  {surface}: p99 {p99:.1f} ms at {rate:,}/s, {halves[surface].of}; "
            f"goal {goal:g} ms {met(p99 <= goal)}"
        )


def show_starts(turns: dict[float, list[Starts]]) -> None:
    table(
        "Acknowledged to attempt started, one worker",
        ("jobs/s", "rounds", "kept up", "p50 ms", "p95 ms", "p99 ms", "queued_ms p99", "lost"),
        (
            (
                f"{rate:,.0f}",
                count_of(some),
                f"{sum(made.kept_up for made in calm(some))} of {len(calm(some))}",
                *(spread([made.p(q) for made in calm(some)]) for q in (0.5, 0.95, 0.99)),
                spread([quantile(made.queued, 0.99) for made in calm(some)], 0),
                str(sum(made.lost for made in some)),
            )
            for rate, some in turns.items()
        ),
    )
    names = ("gateway", "worker", "nats", "simulator", "load")
    table(
        "CPU us for each job from create to end",
        ("jobs/s", *names),
        (
            (f"{rate:,.0f}", *(spread(cpu_of(calm(some), name), 0) for name in names))
            for rate, some in turns.items()
        ),
    )
    held = [rate for rate, some in turns.items() if all(made.kept_up for made in calm(some))]
    p99 = {rate: statistics.median(made.p(0.99) for made in calm(turns[rate])) for rate in held}
    goal = GOAL_START_P99_MS
    if held:
        highest = max(held)
        verdict = f"p99 {p99[highest]:.1f} ms, goal {goal:g} ms {met(p99[highest] <= goal)}"
        print(f"  the highest rate that held, {highest:,.0f} jobs/s: {verdict}")
    within = max((rate for rate in held if p99[rate] <= goal), default=0)
    print(f"  the highest rate within the goal: {within:,.0f} jobs/s")


def met(yes: bool) -> str:
    return "met" if yes else "NOT met"
