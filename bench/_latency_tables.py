"""The tables of bench/added_latency.py, and its goals."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from bench._child import calm, spread, table
from bench._latency_rounds import Case, Round, medians

_QUANTILES: Final = ("p50", "p95", "p99")
# What a round is asked for, and by what name it is shown.
_SERIES: Final = (("first", "first token"), ("late", "token's lateness"))
# Milliseconds added, of the design: by jobs, rate and whether the cache is on; None: no goal.
_Goal = tuple[str, tuple[float | None, float | None, float | None]]
_GOALS: Final[dict[tuple[int, float, bool], tuple[_Goal, ...]]] = {
    (1_000, 10.0, False): (("first", (4.0, 8.0, 20.0)), ("late", (None, 2.5, 6.0))),
    (100, 20.0, False): (("first", (None, 5.0, None)),),
    (100, 20.0, True): (("first", (10.0, 20.0, None)),),
}
GOAL_WORKER_US: Final = 60.0


def show(case: Case, rounds: Sequence[Round], tiers: dict[str, int], stock: float) -> None:
    """Everything that is known of a case; `stock` is the openai client's CPU, in µs."""
    counted = calm(rounds)
    table(
        f"{case.title}\n  ms: median (least-most) of {len(counted)} of {len(rounds)} rounds",
        ("", *_QUANTILES),
        _latency_rows(case, counted),
    )
    table("CPU of a streamed token, us", ("", "median (least-most)"), _cpu_rows(counted, stock))
    if case.cache:
        print(_shares(tiers))
    _judge(case, counted)


def _shares(tiers: dict[str, int]) -> str:
    """Of all rounds, those that other work disturbed included."""
    number, missed = sum(tiers.values()), tiers.get("miss", 0)
    return (
        f"  the cache said of {missed / number:.0%} of {number:,} answers that it has none; of "
        f"{1 - missed / number:.0%} it did not say in time, or was left alone"
    )


def show_durability(one: Sequence[Round], three: Sequence[Round], what: str) -> None:
    """What three copies cost where one was before: medians of rounds, in a line."""
    sides = calm(one), calm(three)
    first = [medians([each.added("first") for each in rounds]) for rounds in sides]
    create = [medians([each.tidegate.ms("create") for each in rounds]) for rounds in sides]
    nats = [[each.tidegate.cpu_of("nats") for each in rounds] for rounds in sides]
    print(
        f"  {what}: first token, added, p50 {_change(first, 0)}, p95 {_change(first, 1)} ms; "
        f"create acknowledged, p50 {_change(create, 0)}, p95 {_change(create, 1)} ms; "
        f"CPU of nats for a token {_change([[each] for each in nats], 0)} us "
        f"({len(sides[0])} and {len(sides[1])} rounds)",
        flush=True,
    )


def _change(sides: Sequence[Sequence[Sequence[float]]], at: int) -> str:
    return " -> ".join(f"{statistics.median(columns[at]):.1f}" for columns in sides)


def _latency_rows(case: Case, rounds: Sequence[Round]) -> Iterable[Sequence[str]]:
    for name, title in _SERIES:
        yield _row(f"{title}, direct", [each.direct.ms(name) for each in rounds])
        yield _row(f"{title}, Tidegate", [each.tidegate.ms(name) for each in rounds])
        yield _row(f"{title}, added", [each.added(name) for each in rounds])
        if case.cache and name == "first":
            answered = [each for each in rounds if each.tidegate.answer["tiers"].get("miss")]
            yield _row("  added, misses alone", [_added_to_misses(each) for each in answered])
    yield _row("job acknowledged", [each.tidegate.ms("create") for each in rounds])
    yield _row("client's own lateness", [each.tidegate.ms("sent") for each in rounds])


def _added_to_misses(this: Round) -> list[float]:
    pairs = zip(this.tidegate.ms("first_missed"), this.direct.ms("first"), strict=True)
    return [through - plain for through, plain in pairs]


def _row(title: str, rounds: Sequence[Sequence[float]]) -> list[str]:
    if not rounds:
        return [title, *("-" for _ in _QUANTILES)]
    return [title, *(spread(column) for column in medians(rounds))]


def _cpu_rows(rounds: Sequence[Round], stock: float) -> Iterable[Sequence[str]]:
    for name in rounds[0].tidegate.cpu:
        yield name, spread([each.tidegate.cpu[name] for each in rounds])
    yield "openai's client, direct", f"{stock:,.1f}"
    yield "simulator, direct", spread([each.direct.cpu["simulator"] for each in rounds])


def _judge(case: Case, rounds: Sequence[Round]) -> None:
    goals = _GOALS.get((case.jobs, case.rate, case.cache), ()) if case.servers == 1 else ()
    titles = dict(_SERIES)
    for name, bounds in goals:
        added = medians([each.added(name) for each in rounds])
        for quantile, bound, column in zip(_QUANTILES, bounds, added, strict=True):
            if bound is not None:
                verdict(
                    f"{titles[name]}, added, {quantile}", statistics.median(column), bound, "ms"
                )
    worker = statistics.median(each.tidegate.cpu["worker"] for each in rounds)
    verdict("worker's CPU of a token", worker, GOAL_WORKER_US, "us")


def verdict(what: str, measured: float, goal: float, unit: str) -> None:
    """Prints whether a goal was met."""
    met = "met" if measured <= goal else "NOT met"
    print(f"  {what}: {measured:.1f} {unit}, goal {goal:g} {met}", flush=True)
