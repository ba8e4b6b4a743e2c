"""Pauses between tries: longer each time, and apart for those that failed together."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate.chassis.backoff import Backoff


@given(st.integers(0, 10_000))
def test_no_pause_is_beyond_its_bounds(tries: int) -> None:
    assert 0.05 <= Backoff(0.05, 2.0).seconds(tries) <= 2.0


@given(st.integers(0, 4))
def test_a_pause_doubles_at_most(tries: int) -> None:
    assert Backoff(0.05, 2.0).seconds(tries) <= 0.05 * 2**tries


def test_two_that_fail_together_come_back_apart() -> None:
    backoff = Backoff(0.05, 2.0)
    assert len({backoff.seconds(3) for _ in range(20)}) > 10
