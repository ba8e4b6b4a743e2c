"""How often a tenant's hits are wrong, and what comes of it. Pure.

Hits are compared with the model's own answer (shadows) and judged by people (feedback). When, at
95 % confidence, more of them are wrong than may be, the tenant's threshold is tightened by a step,
and counting begins anew: what was counted at the old threshold says nothing of the new one.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.cache.decision import raised
from tidegate.cache.wilson import wilson_interval

STEP: Final = 0.01
_VERSION: Final = 1


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a tenant's hits, as it is stored.

    `threshold` and `embedder` (its fingerprint) are what it was learnt at: with others it says
    nothing. `steps` are how often the threshold was tightened. `right` and `wrong` are shadows,
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
    v: int = _VERSION

    @property
    def tightened(self) -> float:
        """What is added to the threshold."""
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
    """`max_wrong` is the share of hits that may be wrong; fewer judged than `least` say nothing."""

    max_wrong: float = 0.01
    least: int = 20


def begun(record: Record | None, *, threshold: float, embedder: str) -> Record:
    """The record where it was learnt at these, or else a new one.

    So whoever sets another threshold has decided anew, for all tenants.
    """
    if record is not None and (record.threshold, record.embedder) == (threshold, embedder):
        return record
    return Record(threshold, embedder)


def judged(record: Record, tally: Tally, policy: HonestyPolicy) -> Record:
    """The record with the tally in it, and the threshold tightened where it is breached."""
    counted = msgspec.structs.replace(
        record,
        right=record.right + tally.right,
        wrong=record.wrong + tally.wrong,
        confirmed=record.confirmed + tally.confirmed,
        reported=record.reported + tally.reported,
    )
    if not _is_breached(counted, policy) or not _can_tighten(counted):
        return counted
    return Record(record.threshold, record.embedder, steps=record.steps + 1)


def _is_breached(record: Record, policy: HonestyPolicy) -> bool:
    interval = record.interval()
    return interval is not None and record.judged >= policy.least and interval[0] > policy.max_wrong


def _can_tighten(record: Record) -> bool:
    step = record.tightened + STEP
    return raised(record.threshold, step) > raised(record.threshold, record.tightened)
