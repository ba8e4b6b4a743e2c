"""A histogram as a value: added, subtracted, and asked for its quantiles. Pure."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

# Seconds; from a cached first word to the longest answers.
LLM_BUCKETS: Final = (
    *(0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 25.0, 30.0, 45.0, 60.0, 90.0, 120.0),
)
# US dollars; what was for nothing has a bucket of its own, so that it does not look like a little.
USD_BUCKETS: Final = (
    *(0.0, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    *(2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """Observations by bucket: `counts[i]` are at most `bounds[i]`, and above the bound before it.

    The last of `counts`, one more than there are bounds, has no upper bound. `total` is the sum of
    what was observed.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many observations there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Their mean; None where there are none."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """An estimate of what `share` (above 0, at most 1) of the observations do not exceed.

        As Prometheus' `histogram_quantile`: linear within a bucket, whose lowest is taken to begin
        at 0; beyond the highest bound, that bound. None where there are no observations.
        """
        reached = list(accumulate(self.counts))
        if not self.count or not self.bounds:
            return None
        rank = share * reached[-1]
        bucket = bisect_left(reached, rank)
        if bucket >= len(self.bounds):
            return self.bounds[-1]
        upper = self.bounds[bucket]
        if bucket == 0 and upper <= 0:
            return upper
        lower = self.bounds[bucket - 1] if bucket else 0.0
        before = reached[bucket - 1] if bucket else 0
        return lower + (upper - lower) * (rank - before) / self.counts[bucket]

    def plus(self, other: Self) -> "Spread":
        """Both together. Of two releases' buckets each keeps its own, beside the other's."""
        if self.bounds == other.bounds:
            counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
            return Spread(self.bounds, counts, self.total + other.total)
        bounds = tuple(sorted({*self.bounds, *other.bounds}))
        counts = tuple(self._at(bound) + other._at(bound) for bound in (*bounds, None))
        return Spread(bounds, counts, self.total + other.total)

    def minus(self, before: Self) -> "Spread":
        """What came since `before`, of the same process; all of it where that began anew."""
        if self.bounds != before.bounds:
            return self
        counts = tuple(a - b for a, b in zip(self.counts, before.counts, strict=True))
        if min(counts) < 0:
            return self
        return Spread(self.bounds, counts, self.total - before.total)

    def _at(self, bound: float | None) -> int:
        if bound is None:
            return self.counts[-1]
        return self.counts[self.bounds.index(bound)] if bound in self.bounds else 0


def together(spreads: Iterable[Spread]) -> Spread:
    """All of them as one."""
    whole: Spread | None = None
    for spread in spreads:
        whole = spread if whole is None else whole.plus(spread)
    return whole or Spread()
