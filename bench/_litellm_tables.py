"""The output of bench.litellm: figures as medians and ranges of rounds, fates in words."""

from collections.abc import Callable, Sequence
from typing import Final

from bench._child import calm, spread, table
from bench._litellm_fates import Fate
from bench._litellm_rounds import Figures, Load, Round, Turn, cpu_of
from bench._litellm_sides import Side

_NOTE: Final = """
  Tidegate's CPU and memory are those of four processes, which may use several cores; LiteLLM is one
  process. Tidegate stores each job in a file before it calls the model; the others keep nothing."""


def show_figures(figures: Figures, sides: Sequence[Side]) -> None:
    """All tables under load."""
    _show_whole(figures.whole, sides)
    _show_paced(figures.paced, sides, "whole", "the whole answer")
    _show_paced(figures.streams, sides, "first", "the first token")
    _show_streams(figures.streams, sides)
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


def _show_whole(load: Load, sides: Sequence[Side]) -> None:
    rounds = calm(load.rounds)
    table(
        f"{load.title}: median (least-most) of rounds",
        ("", "requests/s", "p50 ms", "p99 ms", "CPU us a request", "of it gateway", "simulator us"),
        (
            (
                side.name,
                spread(_figures(rounds, side, "rate"), 0),
                spread(_figures(rounds, side, "whole_p50")),
                spread(_figures(rounds, side, "whole_p99")),
                *_cpu(rounds, side),
                spread([made.turns[side.name].cpu["simulator"] for made in rounds], 0),
            )
            for side in sides
        ),
    )


def _show_paced(load: Load, sides: Sequence[Side], series: str, what: str) -> None:
    rounds = calm(load.rounds)
    names = (f"{series}_p50", f"{series}_p99")
    table(
        f"{load.title}, {load.how['rate']:g}/s: until {what} since it was due, ms",
        ("", "p50", "p99", "added p50", "added p99", "CPU us each", "of it gateway"),
        (
            (
                side.name,
                *(spread(_figures(rounds, side, name)) for name in names),
                *(_added(rounds, side, name) for name in names),
                *_cpu(rounds, side),
            )
            for side in sides
        ),
    )


def _show_streams(load: Load, sides: Sequence[Side]) -> None:
    """Over all rounds: what went wrong counts, calm or not."""
    table(
        f"{load.title}: {load.how['tokens']} tokens each, compared with the model's",
        ("", "streams", "chunks each", "right and whole", "problems"),
        ((side.name, *_checked([made.turns[side.name] for made in load.rounds])) for side in sides),
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


def _checked(turns: Sequence[Turn]) -> tuple[str, str, str, str]:
    answered = sum(turn.answer["answered"] for turn in turns)
    chunks = sum(turn.answer["chunks"] for turn in turns)
    problems: dict[str, int] = {}
    for turn in turns:
        for problem, number in turn.answer["problems"].items():
            problems[problem] = problems.get(problem, 0) + number
    right = answered - sum(n for problem, n in problems.items() if problem != "connection lost")
    told = ", ".join(f"{number} {problem}" for problem, number in problems.items())
    return f"{answered:,}", f"{chunks / max(answered, 1):.1f}", f"{right:,}", told or "none"


def _figures(rounds: Sequence[Round], side: Side, name: str) -> list[float]:
    return [made.turns[side.name].figure(name) for made in rounds]


def _added(rounds: Sequence[Round], side: Side, name: str) -> str:
    return "-" if not side.pids() else spread([made.added(side.name, name) for made in rounds])


def _cpu(rounds: Sequence[Round], side: Side) -> tuple[str, str]:
    """All of a side's processes, and its gateway alone where it is one of several."""

    def column(process: Callable[[str], bool]) -> str:
        return spread([cpu_of(side, made.turns[side.name], process) for made in rounds], 0)

    pids = side.pids()
    return column(bool) if pids else "-", column("gateway".__eq__) if "gateway" in pids else "-"
