"""From scored candidates to a verdict. Pure.

How near a candidate has to be depends on what the guard can say of it. A grave objection: it is
never served. A counterpart for every word: a low threshold will do. Words that one question has
more than the other: a higher one. For what the guard cannot read (it reads English) the threshold
itself counts, raised by a margin; and a stored question in English is no candidate for one that is
not, nor the other way round.

A candidate has rivals: entries nearly as near whose answers say something else, and of which the
guard is not certain that they are about something else. Which of them is meant cannot be told, so
none is served. What is near, and neither served nor certainly different, may be left to a verifier,
unless it has rivals: they are compared with one another by no one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tidegate.cache.entries import Entry, Scored
from tidegate.cache.guard import Comparison, Objection
from tidegate.cache.language import is_english

_ANOTHER_LANGUAGE: Final = Objection("language", "one is in English, the other is not")

STRICTEST: Final = 0.99
"""No threshold is raised above it; one that is set higher stays."""

STEP: Final = 0.01
"""What a breach adds to every threshold."""
_KEPT: Final = 0.75

Compare = Callable[[str, str], Comparison]
Agree = Callable[[Entry, Entry], bool]
"""Whether two entries' answers say the same."""

Scale = Callable[[float], float]
"""A threshold of the setting on the scale of the embedder in use."""


class MissReason(StrEnum):
    """Why none of the candidates is served."""

    NOTHING_STORED = "nothing_stored"
    """There are none: nothing that could be compared is kept in the scope."""
    BELOW = "below"
    """None is near enough."""
    GUARDED = "guarded"
    """The guard objected to what was near enough."""
    DISPUTED = "disputed"
    """Others nearly as near have another answer."""


class Standing(StrEnum):
    """What becomes of one candidate."""

    SERVED = "served"
    NEAR = "near"
    """To be put to the verifier."""
    BELOW = "below"
    GUARDED = "guarded"
    DISPUTED = "disputed"
    """It would be served, or put to the verifier, but for a rival."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds as they are set, on the scale of the setting.

    `accounted` is for candidates all of whose words have a counterpart, `extra` for those of which
    one question says more; None: `threshold` counts for them. `rival_margin` is how much farther an
    entry may be to be a rival, 0 for none, on the embedder's scale. `band_low` None: there is no
    verifier. `foreign_margin` is added for a question that is not in English.
    """

    threshold: float = 0.92
    accounted: float | None = None
    extra: float | None = None
    rival_margin: float = 0.0
    band_low: float | None = None
    foreign_margin: float = 0.04

    @property
    def lowest(self) -> float:
        """The lowest of the thresholds: below it nothing is served."""
        given = (self.threshold, self.accounted, self.extra, self.band_low)
        return min(each for each in given if each is not None)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What one question is measured by. `told` is `serve` on the scale of the setting.

    All others are cosines of the embedder in use. `accounted` and `extra` None: `serve` counts;
    `band_low` None: no one is asked; `rival_margin` 0: there are no rivals.
    """

    told: float
    serve: float
    accounted: float | None
    band_low: float | None
    extra: float | None = None
    rival_margin: float = 0.0

    @property
    def lowest(self) -> float:
        """Below it nothing is served."""
        given = (self.serve, self.accounted, self.band_low, self.extra)
        return min(each for each in given if each is not None)

    def for_(self, comparison: Comparison) -> float:
        """How near a candidate has to be of which nothing grave is said."""
        way = self.accounted if comparison.accounted else self.extra
        return self.serve if way is None else min(way, self.serve)


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate that was looked at; `objections` are the guard's, each as text.

    `needed` is how near it would have to be to be served, None where nothing is near enough.
    """

    scored: Scored
    standing: Standing
    needed: float | None = None
    objections: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What was looked at, nearest first, and what comes of it.

    Either `served`, or else those that are `near` (nearest first), or else the `reason` of a miss.
    `contested`: one would be served, but for a rival.
    """

    judged: tuple[Judged, ...]
    reason: MissReason
    contested: bool = False

    @property
    def served(self) -> Judged | None:
        """The candidate whose answer is the answer."""
        return next(self._of(Standing.SERVED), None)

    @property
    def near(self) -> tuple[Judged, ...]:
        """What a verifier may be asked about, where nothing is served.

        Nothing where it is contested: a yes would not tell which of the rivals is meant.
        """
        return () if self.contested else tuple(self._of(Standing.NEAR))

    def _of(self, standing: Standing) -> Iterator[Judged]:
        return (each for each in self.judged if each.standing is standing)


def thresholds_for(policy: Policy, question: str, *, steps: int = 0, scale: Scale) -> Thresholds:
    """What a question is measured by; `steps` is how often its tenant's shadows tightened it."""
    english = is_english(question)
    margin = 0.0 if english else policy.foreign_margin

    def strict(threshold: float) -> float:
        return stricter(policy.threshold, threshold, steps, margin=margin)

    def scaled(threshold: float | None) -> float | None:
        return None if threshold is None else scale(strict(threshold))

    told = strict(policy.threshold)

    return Thresholds(
        told=told,
        serve=scale(told),
        accounted=scaled(policy.accounted) if english else None,
        band_low=scaled(policy.band_low),
        extra=scaled(policy.extra) if english else None,
        rival_margin=policy.rival_margin,
    )


def stricter(plain: float, threshold: float, steps: int, *, margin: float = 0.0) -> float:
    """A threshold after so many steps, where `plain` is the one that discounts are taken off.

    Each step adds STEP, and takes away a quarter of the discount that is left: by steps alone, hits
    far below the plain threshold would go on for dozens of them.
    """
    discount = max(plain - threshold, 0.0)
    return raised(threshold, steps * STEP + discount * (1 - _KEPT**steps) + margin)


def raised(threshold: float, by: float) -> float:
    """A threshold made stricter, up to STRICTEST."""
    return max(threshold, min(threshold + by, STRICTEST))


def decide(
    question: str,
    candidates: Iterable[Scored],
    thresholds: Thresholds,
    compare: Compare,
    *,
    agree: Agree = lambda _one, _other: True,
    thorough: bool = False,
) -> Decision:
    """Looks at the candidates, nearest first, until one is served; all of them if `thorough`.

    What is below every threshold is not compared otherwise, but for rivals. A score that is no
    number counts as none.
    """
    ordered = sorted(
        (each for each in candidates if math.isfinite(each.score)), key=lambda each: -each.score
    )
    court = _Court(question, ordered, thresholds, compare, agree)
    for scored in ordered:
        if scored.score < thresholds.lowest and not thorough:
            break
        standing = court.judge(scored).standing
        if (standing is Standing.SERVED or court.contested) and not thorough:
            break
    return Decision(tuple(court.judged), _reason(ordered, court.judged), court.contested)


def standing_of(score: float, comparison: Comparison, thresholds: Thresholds) -> Standing:
    """What becomes of a candidate that has no rivals."""
    if not comparison.grave and score >= thresholds.for_(comparison):
        return Standing.SERVED
    low = thresholds.band_low
    if low is not None and score >= low and not comparison.certain:
        return Standing.NEAR
    if comparison.grave and score >= thresholds.lowest:
        return Standing.GUARDED
    return Standing.BELOW


class _Court:
    """Judges one question's candidates, each at most once."""

    def __init__(
        self,
        question: str,
        ordered: Sequence[Scored],
        thresholds: Thresholds,
        compare: Compare,
        agree: Agree,
    ) -> None:
        self._question = question
        self._english = is_english(question)
        self._ordered = ordered
        self._thresholds = thresholds
        self._compare = compare
        self._agree = agree
        self._comparisons: dict[str, Comparison] = {}
        self.judged: list[Judged] = []
        self.contested = False

    def judge(self, scored: Scored) -> Judged:
        """What becomes of a candidate."""
        comparison = self._comparison(scored.entry)
        if self._english != is_english(scored.entry.question):
            comparison = Comparison((*comparison.objections, _ANOTHER_LANGUAGE))
        standing = standing_of(scored.score, comparison, self._thresholds)
        if standing in {Standing.SERVED, Standing.NEAR} and self._is_disputed(scored):
            self.contested = self.contested or standing is Standing.SERVED
            standing = Standing.DISPUTED
        told = tuple(str(each) for each in comparison.objections)
        needed = None if comparison.grave else self._thresholds.for_(comparison)
        rules = tuple(each.rule for each in comparison.objections)
        judged = Judged(scored, standing, needed, told, rules)
        self.judged.append(judged)
        return judged

    def _is_disputed(self, chosen: Scored) -> bool:
        low = chosen.score - self._thresholds.rival_margin
        return self._thresholds.rival_margin > 0 and any(
            not self._agree(chosen.entry, rival.entry) and not self._comparison(rival.entry).certain
            for rival in self._ordered
            if rival is not chosen and rival.score >= low
        )

    def _comparison(self, entry: Entry) -> Comparison:
        if entry.id not in self._comparisons:
            self._comparisons[entry.id] = self._compare(self._question, entry.question)
        return self._comparisons[entry.id]


def _reason(ordered: Sequence[Scored], judged: Sequence[Judged]) -> MissReason:
    if not ordered:
        return MissReason.NOTHING_STORED
    standings = {each.standing for each in judged}
    if Standing.DISPUTED in standings:
        return MissReason.DISPUTED
    return MissReason.GUARDED if Standing.GUARDED in standings else MissReason.BELOW
