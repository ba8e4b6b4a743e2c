"""The output of bench.litellm: figures as medians and ranges of rounds, fates in words."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from bench._child import calm, quantile, spread, table
from bench._litellm_fates import Fate
from bench._litellm_rounds import Figures, Load, Round, Turn, cpu_of
from bench._litellm_sides import Side

# Answers of all rounds that a p99 wants.
_ENOUGH: Final = 1_000
_NOTE: Final = """
  Right, whole answers alone count as answers; whatever else came is `failed`, over all rounds. p50:
  median (least-most) of rounds; p95 or p99: of the n answers of all these rounds together.
  Tidegate's CPU and memory are those of four processes, which may use several cores; LiteLLM is one
  process, or two and their parent. `a core`: answers a second for each core of its own CPU.
  Tidegate stores each job in a file before it calls the model; the others keep nothing."""


def show_figures(figures: Figures, sides: Sequence[Side]) -> None:
    """All tables under load."""
    _show_whole(figures.whole)
    _show_paced(figures.paced, "whole", "the whole answer")
    _show_paced(figures.streams, "first", "the first token")
    _show_streams(figures.streams)
    for load in figures.loads:
        print(_disturbed(load))
    _show_memory(figures, sides)
    print(_NOTE)


def show_fates(fates: Sequence[Fate]) -> None:
    """What was seen, one thing that breaks after the other."""
    for what in dict.fromkeys(fate.what for fate in fates):
        some = [fate for fate in fates if fate.what == what]
        rows = (
            (fate.side, fate.seen(), fate.seen_again() or fate.job or "-", fate.paid())
            for fate in some
        )
        table(what, ("", "the client saw", "and then", "calls of the provider"), rows)


def _disturbed(load: Load) -> str:
    used = calm(load.rounds)
    most = max(made.others for made in used)
    return (
        f"  {load.title}: {len(used)} of {len(load.rounds)} rounds used, in which other work took "
        f"{most:.2f} cores at most"
    )


def _show_whole(load: Load) -> None:
    rounds, q = calm(load.rounds), _tail(load, "whole")
    table(
        load.title,
        (
            *("", "requests/s", "a core", "cores", "p50 ms", f"p{q * 100:.0f} ms", "n", "failed"),
            *("CPU us each", "of it gateway", "simulator us"),
        ),
        (
            (
                side.name,
                spread([turn.rate for turn in _turns(rounds, side)], 0),
                *_of_cores(rounds, side),
                _p50(rounds, side, "whole"),
                f"{quantile(_pooled(rounds, side, 'whole'), q):.1f}",
                f"{len(_pooled(rounds, side, 'whole')):,}",
                _failed(load, side),
                *_cpu(rounds, side),
                spread([turn.cpu["simulator"] for turn in _turns(rounds, side)], 0),
            )
            for side in load.sides
        ),
    )


def _show_paced(load: Load, series: str, what: str) -> None:
    rounds, q = calm(load.rounds), _tail(load, series)
    tail = f"p{q * 100:.0f}"
    table(
        f"{load.title}: until {what} since it was due, ms",
        (
            *("", "p50", tail, "added p50", f"added {tail}", "n", "failed"),
            *("CPU us each", "of it gateway"),
        ),
        (
            (
                side.name,
                _p50(rounds, side, series),
                f"{quantile(_pooled(rounds, side, series), q):.1f}",
                *_added(rounds, side, load.sides[0], series, q),
                f"{len(_pooled(rounds, side, series)):,}",
                _failed(load, side),
                *_cpu(rounds, side),
            )
            for side in load.sides
        ),
    )


def _show_streams(load: Load) -> None:
    """Over all rounds: what went wrong counts, calm or not."""
    table(
        f"{load.title}: {load.how['tokens']} tokens each, compared with the model's",
        ("", "asked", "right and whole", "chunks each", "failed", "problems"),
        ((side.name, *_checked(load, side)) for side in load.sides),
    )


def _show_memory(figures: Figures, sides: Sequence[Side]) -> None:
    def row(name: str, *processes: str) -> tuple[str, str, str]:
        before, after = (
            sum(resident[process] for process in processes)
            for resident in (figures.idle, figures.after)
        )
        return name, f"{before:,.0f}", f"{after:,.0f}"

    rows = []
    for side in sides:
        processes = tuple(side.pids())
        rows += [row(side.name, *processes)] if processes else []
        rows += [row(f"  {each}", each) for each in processes if len(processes) > 1]
    table("Resident MiB", ("", "before the load", "after it"), rows)


def _checked(load: Load, side: Side) -> tuple[str, ...]:
    turns, problems = _turns(load.rounds, side), Counter[str]()
    for turn in turns:
        problems.update(turn.answer["problems"])
    asked, right, chunks = (
        sum(turn.answer[name] for turn in turns) for name in ("asked", "right", "chunks")
    )
    told = ", ".join(f"{number} {problem}" for problem, number in problems.items()) or "none"
    return f"{asked:,}", f"{right:,}", f"{chunks / max(right, 1):.1f}", _failed(load, side), told


def _turns(rounds: Sequence[Round], side: Side) -> list[Turn]:
    return [made.turns[side.name] for made in rounds]


def _pooled(rounds: Sequence[Round], side: Side, series: str) -> list[float]:
    return [each for turn in _turns(rounds, side) for each in turn.ms(series)]


def _tail(load: Load, series: str) -> float:
    """The percentile that each side has answers enough for."""
    rounds = calm(load.rounds)
    fewest = min(len(_pooled(rounds, side, series)) for side in load.sides)
    return 0.99 if fewest >= _ENOUGH else 0.95


def _p50(rounds: Sequence[Round], side: Side, series: str) -> str:
    return spread([quantile(turn.ms(series), 0.5) for turn in _turns(rounds, side)])


def _failed(load: Load, side: Side) -> str:
    return f"{sum(turn.failed for turn in _turns(load.rounds, side)):,}"


def _added(
    rounds: Sequence[Round], side: Side, direct: Side, series: str, q: float
) -> tuple[str, str]:
    """What a side's p50 is above the direct call's in each round, and its tail above all of it."""
    if side is direct:
        return "-", "-"
    pairs = zip(_turns(rounds, side), _turns(rounds, direct), strict=True)
    p50 = [quantile(one.ms(series), 0.5) - quantile(two.ms(series), 0.5) for one, two in pairs]
    tail, plain = (quantile(_pooled(rounds, each, series), q) for each in (side, direct))
    return spread(p50), f"{tail - plain:.1f}"


def _of_cores(rounds: Sequence[Round], side: Side) -> tuple[str, str]:
    """Answers a second of each core of its own CPU, and how many cores it kept busy."""
    if not side.pids():
        return "-", "-"
    used = [cpu_of(side, turn) * turn.rate / 1e6 for turn in _turns(rounds, side)]
    rates = [turn.rate for turn in _turns(rounds, side)]
    each = [rate / cores if cores else 0.0 for rate, cores in zip(rates, used, strict=True)]
    return spread(each, 0), spread(used, 2)


def _cpu(rounds: Sequence[Round], side: Side) -> tuple[str, str]:
    """All of a side's processes, and its gateway alone where it is one of several."""

    def column(process: Callable[[str], bool]) -> str:
        return spread([cpu_of(side, turn, process) for turn in _turns(rounds, side)], 0)

    pids = side.pids()
    return column(bool) if pids else "-", column("gateway".__eq__) if "gateway" in pids else "-"
