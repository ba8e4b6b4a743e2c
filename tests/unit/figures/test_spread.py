"""Quantiles of histograms: what a team takes for its users' waiting."""

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.figures.spread import LLM_BUCKETS, USD_BUCKETS, Spread, together

SHARES = st.floats(0.001, 1.0)
OBSERVED = st.lists(st.floats(0.0, 200.0), max_size=60)


def spread(values: list[float], bounds: tuple[float, ...] = LLM_BUCKETS) -> Spread:
    """The histogram that such observations make."""
    edges = (-math.inf, *bounds, math.inf)
    counts = [sum(low < value <= high for value in values) for low, high in pairwise(edges)]
    return Spread(bounds, tuple(counts), sum(values))


def histogram_quantile(share: float, spread: Spread) -> float:
    """Prometheus' own (promql/quantile.go, bucketQuantile), step by step."""
    buckets = list(zip((*spread.bounds, math.inf), accumulate(spread.counts), strict=True))
    rank = share * buckets[-1][1]
    at = next((i for i, (_, reached) in enumerate(buckets[:-1]) if reached >= rank), None)
    if at is None:
        return buckets[-2][0]
    end, count = buckets[at]
    if at == 0 and end <= 0:
        return end
    start = 0.0
    if at > 0:
        start = buckets[at - 1][0]
        count -= buckets[at - 1][1]
        rank -= buckets[at - 1][1]
    return start + (end - start) * (rank / count)


@given(OBSERVED.filter(bool), SHARES)
def test_a_quantile_is_the_one_that_prometheus_tells(values: list[float], share: float) -> None:
    """Else the command line and the dashboard would contradict each other."""
    made = spread(values)
    assert made.quantile(share) == pytest.approx(histogram_quantile(share, made))


@given(OBSERVED.filter(bool), SHARES)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    true = sorted(values)[math.ceil(share * len(values)) - 1]
    told = spread(values).quantile(share)
    assert told is not None
    edges = (0.0, *LLM_BUCKETS)
    high = next((edge for edge in LLM_BUCKETS if true <= edge), LLM_BUCKETS[-1])
    low = max(edge for edge in edges if edge < high) if true <= LLM_BUCKETS[-1] else high
    assert low <= told <= high + 1e-9


@given(OBSERVED.filter(bool), SHARES, SHARES)
def test_a_larger_share_never_waits_less(values: list[float], one: float, other: float) -> None:
    made = spread(values)
    low, high = made.quantile(min(one, other)), made.quantile(max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high + 1e-9


@given(st.lists(OBSERVED, min_size=1, max_size=5))
def test_processes_together_are_as_one_that_did_it_all(parts: list[list[float]]) -> None:
    whole = together(spread(part) for part in parts)
    everything = spread([value for part in parts for value in part])
    assert whole.counts == everything.counts
    assert whole.total == pytest.approx(everything.total)


@given(OBSERVED, OBSERVED)
def test_what_came_since_is_what_was_added(before: list[float], after: list[float]) -> None:
    since = spread(before + after).minus(spread(before))
    assert since.counts == spread(after).counts
    assert since.total == pytest.approx(sum(after), abs=1e-9)


def test_a_counter_that_went_down_began_anew() -> None:
    """A process was started again: nothing that it did since is lost, and nothing is negative."""
    before, now = spread([0.2] * 5 + [3.0]), spread([0.2, 70.0])
    assert now.minus(before) == now


@given(OBSERVED, OBSERVED)
def test_two_releases_with_other_buckets_are_added_up_all_the_same(
    old: list[float], new: list[float]
) -> None:
    other = (0.1, 1.0, 7.0)
    whole = together([spread(old, other), spread(new)])
    assert whole.count == len(old) + len(new)
    assert whole.bounds == tuple(sorted({*other, *LLM_BUCKETS}))
    assert spread(new).minus(spread(old, other)) == spread(new)


def test_nothing_observed_has_no_quantile() -> None:
    assert Spread().quantile(0.5) is None
    assert spread([]).quantile(0.95) is None
    assert spread([]).mean is None


def test_what_lies_beyond_all_buckets_is_told_as_their_end() -> None:
    assert spread([500.0]).quantile(0.5) == 120.0


def test_what_cost_nothing_is_told_to_have_cost_nothing() -> None:
    """Hits are for nothing; a median of half a millionth would be an invention."""
    made = spread([0.0, 0.0, 0.0, 0.02], USD_BUCKETS)
    assert made.quantile(0.5) == 0.0
    assert made.quantile(1.0) == pytest.approx(0.02)
