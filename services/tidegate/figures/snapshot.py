"""The figures of one process at one moment, as processes tell them to each other.

A newer release may add fields, which older ones pass over; a family that a process does not have is
empty.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from tidegate.contracts.events import UNDECODABLE
from tidegate.figures.spread import Spread, together

SNAPSHOT_VERSION: Final = 1


class SnapshotError(Exception):
    """Bytes that are no snapshot, or one of a newer format."""


def _version() -> int:
    return SNAPSHOT_VERSION


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One combination of label values: a counter's total; a histogram's sum, and its counts.

    The counts are by bucket, not cumulative, and empty for a counter.
    """

    labels: tuple[str, ...]
    total: float
    counts: tuple[int, ...] = ()


class Family(msgspec.Struct, frozen=True):
    """All series of one metric; `labels` names the values of each, `bounds` its buckets."""

    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    series: tuple[Series, ...] = ()

    def spread(self, **wanted: str) -> Spread:
        """The observations of a histogram whose labels are as wanted."""
        return together(
            Spread(self.bounds, series.counts, series.total) for series in self._having(wanted)
        )

    def sum(self, **wanted: str) -> float:
        """The sum of a counter's totals whose labels are as wanted."""
        return sum(series.total for series in self._having(wanted))

    def values(self, label: str) -> set[str]:
        """What a label has been."""
        if label not in self.labels:
            return set()
        at = self.labels.index(label)
        return {series.labels[at] for series in self.series}

    def since(self, before: "Family") -> "Family":
        """What came since `before`, of the same process."""
        if (self.labels, self.bounds) != (before.labels, before.bounds):
            return self
        earlier = {series.labels: series for series in before.series}
        return msgspec.structs.replace(
            self,
            series=tuple(
                self._minus(series, earlier[series.labels]) if series.labels in earlier else series
                for series in self.series
            ),
        )

    def _having(self, wanted: Mapping[str, str]) -> Iterator[Series]:
        at = [(self.labels.index(label), value) for label, value in wanted.items() if self.labels]
        return (each for each in self.series if all(each.labels[i] == value for i, value in at))

    def _minus(self, series: Series, before: Series) -> Series:
        if not self.bounds:
            left = series.total - before.total
            return series if left < 0 else Series(series.labels, left)
        spread = Spread(self.bounds, series.counts, series.total)
        left_over = spread.minus(Spread(self.bounds, before.counts, before.total))
        return Series(series.labels, left_over.total, left_over.counts)


class Snapshot(msgspec.Struct, frozen=True):
    """What a process has counted since it began.

    `process` names its life: another one begins with its next start. Times are epoch seconds.
    """

    process: str
    host: str
    started_at: float
    at: float
    ttft: Family = Family()
    response: Family = Family()
    lookups: Family = Family()
    cost: Family = Family()
    cost_unknown: Family = Family()
    saved: Family = Family()
    saved_unknown: Family = Family()
    v: int = msgspec.field(default_factory=_version)

    def since(self, before: "Snapshot") -> "Snapshot":
        """What the same process counted since `before`."""
        left = {name: getattr(self, name).since(getattr(before, name)) for name in FAMILIES}
        return msgspec.structs.replace(self, **left)


FAMILIES: Final = tuple(
    field.name for field in msgspec.structs.fields(Snapshot) if field.type is Family
)

_decoder = msgspec.json.Decoder(Snapshot)
_encoder = msgspec.json.Encoder()


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A message's payload."""
    return _encoder.encode(snapshot)


def decode_snapshot(payload: bytes) -> Snapshot:
    """The snapshot of a payload.

    Raises:
        SnapshotError: it cannot be read.
    """
    try:
        snapshot = _decoder.decode(payload)
    except UNDECODABLE as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    if snapshot.v > SNAPSHOT_VERSION:
        raise SnapshotError(f"snapshot format {snapshot.v} is newer than {SNAPSHOT_VERSION}")
    if not all(_is_whole(getattr(snapshot, name)) for name in FAMILIES):
        raise SnapshotError("not a snapshot: labels or buckets are missing")
    return snapshot


def _is_whole(family: Family) -> bool:
    buckets = len(family.bounds) + 1 if family.bounds else 0
    return all(
        (len(series.labels), len(series.counts)) == (len(family.labels), buckets)
        for series in family.series
    )
