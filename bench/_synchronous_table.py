"""The table of bench.synchronous, and how many answers were compared."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import inf, isinf
from typing import Final

from bench._child import quantile, table
from bench._synchronous_load import Asked, errors_of
from bench._synchronous_rounds import Round

# What is shown of a round: a figure or two, and how each is written.
_Column = tuple[str, Callable[[Round], Sequence[float]], Callable[[float], str]]


def _seconds(value: float) -> str:
    if isinf(value):
        return "never"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _pair(pick: Callable[[Asked], float]) -> Callable[[Round], Sequence[float]]:
    return lambda found: [quantile(map(pick, found.asked), q) for q in (0.5, 0.95)]


_COLUMNS: Final[tuple[_Column, ...]] = (
    ("a reply", _pair(lambda asked: asked.reply), _seconds),
    ("first token", _pair(lambda asked: asked.first), _seconds),
    ("whole answer", _pair(lambda asked: asked.whole), _seconds),
    ("all served", lambda found: [found.seconds], _seconds),
    ("served", lambda found: [found.served], _count),
    ("calls", lambda found: [found.calls], _count),
    ("CPU s", lambda found: [found.cpu.servers], _tenths),
    ("MiB", lambda found: [sum(found.memory.values())], _count),
    ("late ms", lambda found: [found.late_p99_ms], _count),
    ("other", lambda found: [found.cpu.elsewhere], _tenths),
)


def show(rounds: Sequence[Round], title: str) -> None:
    """One row for each number of users and side, and beneath it the range of several rounds."""
    together: dict[tuple[int, str], list[Round]] = {}
    for found in rounds:
        together.setdefault((found.users, found.side.name), []).append(found)
    table(
        title,
        ("users", "side", *(name for name, _, _ in _COLUMNS), "errors"),
        [row for some in together.values() for row in _rows(some)],
    )


def _rows(some: Sequence[Round]) -> Iterable[Sequence[str]]:
    errors = sum((errors_of(found.asked) for found in some), Counter[str]())
    told = ", ".join(f"{number:,} {kind}" for kind, number in errors.most_common()) or "none"
    yield (f"{some[0].users:,}", some[0].side.name, *_cells(some, statistics.median), told)
    if len(some) > 1:
        yield ("", f"{len(some)} rounds", *_cells(some, min, max), "in all")


def _cells(some: Sequence[Round], *folds: Callable[[list[float]], float]) -> Iterable[str]:
    for _, pick, write in _COLUMNS:
        columns = [list(column) for column in zip(*map(pick, some), strict=True)]
        yield " / ".join("-".join(write(fold(each)) for fold in folds) for each in columns)


def show_checked(rounds: Sequence[Round]) -> None:
    """How many answers were compared with the model's."""
    print()
    for side in dict.fromkeys(found.side.name for found in rounds):
        some = [found for found in rounds if found.side.name == side]
        asked, wrong = (sum(f.users for f in some), sum(f.wrong for f in some))
        right = sum(each.whole < inf for found in some for each in found.asked)
        print(f"  {side}: {asked:,} asked; {right:,} answers with the right text, {wrong:,} wrong")
