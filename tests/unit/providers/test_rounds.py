"""The order of calls, without a call."""

import pytest

from tidegate.contracts.errors import Reason
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.rounds import Rounds
from tidegate.providers.routes import Target

NOW = 1000.0
A, B, C = (Target(name, "http://x/v1", "m") for name in "abc")


def down(retry_after: float | None = None) -> ProviderError:
    return ProviderError(Reason.PROVIDER_UNAVAILABLE, "down", retry_after=retry_after)


def broken() -> ProviderError:
    return ProviderError(Reason.PROVIDER_CREDENTIALS, "no key")


def test_a_round_takes_each_in_order_and_the_next_begins_anew() -> None:
    rounds = Rounds([A, B, C], 10)
    for _ in range(2):
        rounds.begin()
        for expected in (A, B, C):
            assert rounds.next(NOW) == expected
            rounds.failed(expected, down(), NOW)
        assert rounds.next(NOW) is None


def test_what_failed_for_good_is_left_out_of_later_rounds() -> None:
    rounds = Rounds([A, B], 10)
    rounds.failed(A, broken(), NOW)
    rounds.failed(B, down(), NOW)
    rounds.begin()
    assert rounds.next(NOW) == B
    assert rounds.remaining == (B,)


def test_nothing_remains_when_all_failed_for_good_or_the_calls_are_used_up() -> None:
    for rounds, error in [(Rounds([A], 10), broken()), (Rounds([A], 1), down())]:
        rounds.failed(A, error, NOW)
        rounds.begin()
        assert rounds.next(NOW) is None
        assert rounds.ready_at(NOW) is None
        assert rounds.verdict(NOW) is error


def test_a_call_that_does_not_count_uses_none_up() -> None:
    rounds, error = Rounds([A], 1), down()
    error.counts = False
    rounds.failed(A, error, NOW)
    rounds.begin()
    assert rounds.next(NOW) == A


def test_who_asked_for_time_is_given_it_while_others_are_called() -> None:
    rounds = Rounds([A, B], 10)
    rounds.failed(A, down(retry_after=7), NOW)
    rounds.failed(B, down(), NOW)
    rounds.begin()
    assert rounds.next(NOW) == B
    rounds.failed(B, down(retry_after=20), NOW)
    rounds.begin()
    assert rounds.next(NOW) is None
    assert rounds.ready_at(NOW) == NOW + 7
    assert rounds.verdict(NOW).retry_after == 20
    assert rounds.next(NOW + 7) == A


def test_an_open_breaker_costs_no_call() -> None:
    rounds = Rounds([A, B], 1)
    rounds.refused(A, NOW + 5)
    assert rounds.next(NOW) == B
    rounds.refused(B, NOW + 3)
    assert rounds.next(NOW) is None
    assert rounds.only_breakers
    assert rounds.ready_at(NOW) == NOW + 3
    verdict = rounds.verdict(NOW)
    assert (verdict.reason, verdict.retriable, verdict.retry_after) == (
        Reason.CIRCUIT_OPEN,
        True,
        3,
    )


@pytest.mark.parametrize("order", [(down, broken), (broken, down)])
def test_a_failure_that_passes_counts_more_than_one_that_does_not(
    order: tuple[object, ...],
) -> None:
    rounds = Rounds([A, B], 10)
    for target, error in zip((A, B), order, strict=True):
        rounds.failed(target, error(), NOW)  # type: ignore[operator]
    assert rounds.verdict(NOW).reason == Reason.PROVIDER_UNAVAILABLE


def test_while_a_breaker_may_heal_a_missing_key_elsewhere_is_not_the_end() -> None:
    rounds = Rounds([A, B], 10)
    rounds.failed(A, broken(), NOW)
    rounds.refused(B, NOW + 5)
    assert (rounds.verdict(NOW).reason, rounds.verdict(NOW).retry_after) == (Reason.CIRCUIT_OPEN, 5)
    assert rounds.only_breakers


def test_a_wait_is_not_only_for_breakers_when_a_call_asked_for_it() -> None:
    rounds = Rounds([A, B], 10)
    rounds.failed(A, down(retry_after=7), NOW)
    rounds.refused(B, NOW + 5)
    assert not rounds.only_breakers
    assert rounds.ready_at(NOW) == NOW + 5


def test_a_quota_is_of_its_target() -> None:
    rounds = Rounds([A, B], 10)
    error = ProviderError(Reason.PROVIDER_RATE_LIMITED, "used up", kind=ErrorKind.TARGET)
    rounds.failed(A, error, NOW)
    assert rounds.remaining == (B,)
