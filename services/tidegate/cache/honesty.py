"""How often a tenant's hits are wrong, and what comes of it. Pure.

Hits are compared with the model's own answer (shadows) and judged by people (feedback). When, at
95 % confidence, more of the former are wrong than may be, the tenant's thresholds are tightened by
a step, and counting begins anew: what was counted at the old ones says nothing of the new ones.
Feedback tightens nothing: who reports is no sample, for few people report that all was well.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.cache.decision import STEP, stricter
from tidegate.cache.wilson import wilson_interval

HONESTY_VERSION: Final = 1


def _version() -> int:
    return HONESTY_VERSION


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a tenant's hits, as it is stored.

    `threshold` and `embedder` (its fingerprint) are what it was learnt at: with others it says
    nothing. `steps` are how often it was tightened. `right` and `wrong` are shadows,
    `confirmed` and `reported` feedback, all since the last of those steps. `stamp` is of whoever
    wrote it, so that nobody takes another's write for its own.
    """

    threshold: float
    embedder: str
    steps: int = 0
    right: int = 0
    wrong: int = 0
    confirmed: int = 0
    reported: int = 0
    stamp: str = ""
    # By factory, so that the version is written although it is the default.
    v: int = msgspec.field(default_factory=_version)

    @property
    def tightened(self) -> float:
        """What is added to the plain threshold."""
        return self.steps * STEP

    @property
    def shadowed(self) -> int:
        """Hits that were compared with the model's own answer."""
        return self.right + self.wrong

    @property
    def wrong_in_all(self) -> int:
        """Hits that were wrong, by shadows and by feedback."""
        return self.wrong + self.reported

    @property
    def judged(self) -> int:
        """Hits that were judged, either way."""
        return self.shadowed + self.confirmed + self.reported

    def interval(self) -> tuple[float, float] | None:
        """The bounds of the share of wrong hits, 95 %; None before any was judged."""
        return wilson_interval(self.wrong_in_all, self.judged) if self.judged else None

    def shadow_interval(self) -> tuple[float, float]:
        """The bounds of the share of wrong ones among the shadows, 95 %."""
        return wilson_interval(self.wrong, self.shadowed)


@dataclass(frozen=True, slots=True)
class Tally:
    """Judgements that are not in the record yet."""

    right: int = 0
    wrong: int = 0
    confirmed: int = 0
    reported: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.right + other.right,
            self.wrong + other.wrong,
            self.confirmed + other.confirmed,
            self.reported + other.reported,
        )

    def __sub__(self, other: "Tally") -> "Tally":
        return Tally(
            self.right - other.right,
            self.wrong - other.wrong,
            self.confirmed - other.confirmed,
            self.reported - other.reported,
        )

    def __bool__(self) -> bool:
        return self != _NOTHING


_NOTHING: Final = Tally()
SHADOW_RIGHT: Final = Tally(right=1)
SHADOW_WRONG: Final = Tally(wrong=1)
CONFIRMED: Final = Tally(confirmed=1)
REPORTED: Final = Tally(reported=1)


@dataclass(frozen=True, slots=True)
class HonestyPolicy:
    """`max_wrong` is the share of hits that may be wrong; fewer shadows than `least` say nothing.

    `discount` is how far below the plain threshold hits are served at most, as it is set.
    """

    max_wrong: float = 0.01
    least: int = 20
    discount: float = 0.0


def begun(record: Record | None, *, threshold: float, embedder: str) -> Record:
    """The record where it was learnt at these, or else a new one.

    So whoever sets another threshold has decided anew, for all tenants.
    """
    if record is not None and (record.threshold, record.embedder) == (threshold, embedder):
        return record
    return Record(threshold, embedder)


def judged(record: Record, tally: Tally, policy: HonestyPolicy) -> Record:
    """The record with the tally in it, and tightened by a step where it is breached."""
    counted = msgspec.structs.replace(
        record,
        right=record.right + tally.right,
        wrong=record.wrong + tally.wrong,
        confirmed=record.confirmed + tally.confirmed,
        reported=record.reported + tally.reported,
    )
    if not _is_breached(counted, policy) or not _can_tighten(counted, policy):
        return counted
    return Record(record.threshold, record.embedder, steps=record.steps + 1)


def _is_breached(record: Record, policy: HonestyPolicy) -> bool:
    return record.shadowed >= policy.least and record.shadow_interval()[0] > policy.max_wrong


def _can_tighten(record: Record, policy: HonestyPolicy) -> bool:
    """Whether a step more makes the lowest threshold in force stricter."""
    plain, lowest = record.threshold, record.threshold - policy.discount
    return stricter(plain, lowest, record.steps + 1) > stricter(plain, lowest, record.steps)
