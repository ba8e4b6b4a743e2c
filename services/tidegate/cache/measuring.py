"""How good and how honest the like questions' tier is on labelled pairs. Pure.

Two shares, always together: R, of the repeats that are served, and F, of the look-alikes that are
wrongly served. A cache with a fine R and an F that nobody looked at is worse than none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from tidegate.cache.decision import Policy, Scale, Standing, standing_of, thresholds_for
from tidegate.cache.entries import Vector
from tidegate.cache.guard import Comparison, compare
from tidegate.cache.wilson import wilson_interval

STEPS: Final = (0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98)
"""Thresholds that are looked at by default, on the scale of the setting."""

_KINDS: Final = ("same", "different")
_UNGUARDED: Final = Comparison(())


class PairsError(Exception):
    """A file of pairs that cannot be read; the text names the line, and quotes nothing of it."""


class LabelledPair(NamedTuple):
    """Two questions, and whether one answer serves both; `group` is what sort of pair it is."""

    group: str
    same: bool
    one: str
    other: str


class Scored(NamedTuple):
    """A pair with the cosine of its questions."""

    pair: LabelledPair
    cosine: float


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `total`, with the ends of its Wilson interval, 95 %."""

    count: int
    total: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, total: int) -> "Share":
        """The share of a count."""
        return cls(count, total, *wilson_interval(count, total))

    @property
    def value(self) -> float:
        """From 0 to 1; 0 of none."""
        return self.count / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.value:6.1%}  ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, slots=True)
class Rates:
    """R and F at a threshold (on the scale of the setting)."""

    threshold: float
    repeats: Share
    look_alikes: Share


def parse_pairs(lines: Iterable[str]) -> Iterator[LabelledPair]:
    """Pairs of a file of tab-separated values: group, `same` or `different`, and both questions.

    The group may be left out. Empty lines, and those that begin with `#`, are passed over.

    Raises:
        PairsError: names the line.
    """
    for number, line in enumerate(lines, 1):
        cells = line.rstrip("\r\n").split("\t")
        if not line.strip() or line.startswith("#"):
            continue
        if len(cells) == 3:
            cells = ["", *cells]
        if len(cells) != 4 or cells[1] not in _KINDS or not all(cells[2:]):
            raise PairsError(
                f"line {number}: expected `same` or `different` and two questions, apart by tabs"
            )
        yield LabelledPair(cells[0], cells[1] == "same", cells[2], cells[3])


def score(pairs: Iterable[LabelledPair], vectors: Mapping[str, Vector]) -> list[Scored]:
    """The pairs with their cosines; `vectors` has a unit vector for each question."""
    return [Scored(each, float(np.dot(vectors[each.one], vectors[each.other]))) for each in pairs]


def policy_at(policy: Policy, threshold: float) -> Policy:
    """The policy with another threshold, and its discounts as they are."""
    by = threshold - policy.threshold
    return Policy(
        threshold=threshold,
        accounted=None if policy.accounted is None else policy.accounted + by,
        extra=None if policy.extra is None else policy.extra + by,
        rival_margin=policy.rival_margin,
        foreign_margin=policy.foreign_margin,
    )


def rates(
    pairs: Sequence[Scored],
    policy: Policy,
    scale: Scale,
    *,
    steps: Sequence[float] = STEPS,
    guarded: bool = True,
) -> list[Rates]:
    """R and F at each threshold. Not `guarded`: by the cosine alone, without any discount."""
    judge = _guarded if guarded else _bare
    comparisons = {each: compare(*each[2:]) if guarded else _UNGUARDED for each, _ in pairs}
    found = []
    for threshold in steps:
        at = judge(policy_at(policy, threshold), scale)
        served = [each.pair for each in pairs if at(each, comparisons[each.pair])]
        repeats = sum(pair.same for pair in served)
        total = sum(each.pair.same for each in pairs)
        found.append(
            Rates(
                threshold,
                Share.of(repeats, total),
                Share.of(len(served) - repeats, len(pairs) - total),
            )
        )
    return found


def table(found: Iterable[Rates]) -> Iterator[str]:
    """Lines for a person's eyes."""
    yield f"{'threshold':>9}  {'R, repeats served':26}  F, look-alikes wrongly served"
    for each in found:
        yield f"{each.threshold:9.2f}  {each.repeats!s:26}  {each.look_alikes!s}"


_Judge = Callable[[Scored, Comparison], bool]


def _guarded(policy: Policy, scale: Scale) -> _Judge:
    def is_served(scored: Scored, comparison: Comparison) -> bool:
        at = thresholds_for(policy, scored.pair.one, scale=scale)
        return standing_of(scored.cosine, comparison, at) is Standing.SERVED

    return is_served


def _bare(policy: Policy, scale: Scale) -> _Judge:
    threshold = scale(policy.threshold)
    return lambda scored, _: scored.cosine >= threshold
