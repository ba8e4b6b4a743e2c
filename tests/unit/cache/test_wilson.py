"""How sure a share is: too narrow an interval would call a guess a measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.wilson import wilson_interval

counts = st.integers(0, 10**6).flatmap(
    lambda trials: st.tuples(st.integers(0, trials), st.just(trials))
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_what_the_literature_has(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_it_holds_the_share_and_stays_among_shares(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    assert 0.0 <= low <= high <= 1.0
    if trials:
        assert low <= successes / trials <= high


@given(counts)
def test_failures_are_the_mirror_of_successes(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(st.integers(1, 1000), st.integers(2, 50), st.data())
def test_more_of_the_same_says_more(trials: int, times: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    few = wilson_interval(successes, trials)
    many = wilson_interval(successes * times, trials * times)
    assert many[1] - many[0] < few[1] - few[0]


def test_of_nothing_everything_is_possible() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, -1)])
def test_what_cannot_be_counted(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, trials)
