"""The circuit breaker's rules: when it opens, for how long, and who may try again."""

from typing import Any

import pytest

from tidegate.contracts.errors import Reason
from tidegate.providers.breaker import (
    Admitted,
    Breaker,
    BreakerPolicy,
    Circuit,
    MustClaim,
    Phase,
    Refused,
)

POLICY = BreakerPolicy()
NOW = 1_000_000.0
DOWN = Reason.PROVIDER_UNAVAILABLE


def breaker(writer: str = "w1", **policy: Any) -> Breaker:
    return Breaker("p", "m", writer=writer, policy=BreakerPolicy(**policy))


def epoch_of(it: Breaker, now: float) -> int:
    admission = it.admit(now)
    assert isinstance(admission, Admitted)
    return admission.epoch


def phase(it: Breaker) -> Phase:
    return it.circuit.phase


def fail(it: Breaker, now: float, times: int = 1, **error: Any) -> None:
    for _ in range(times):
        it.failed(epoch_of(it, now), now, **({"reason": DOWN} | error))


def opened(now: float = NOW, **policy: Any) -> Breaker:
    it = breaker(**policy)
    fail(it, now, it_policy(it).consecutive)
    return it


def it_policy(it: Breaker) -> BreakerPolicy:
    return it._policy


def probing(it: Breaker, now: float, sequence: int = 9) -> int:
    """Claims, and returns the probe's epoch."""
    assert isinstance(it.admit(now), MustClaim)
    admitted = it.claimed(it.claim(now), sequence, now)
    assert admitted is not None
    return admitted.epoch


def test_failures_in_a_row_open_it() -> None:
    it = breaker()
    fail(it, NOW, POLICY.consecutive - 1)
    assert it.admit(NOW) == Admitted(0)
    fail(it, NOW)
    assert it.admit(NOW) == Refused(NOW + POLICY.open, DOWN)
    assert it.open_until(NOW) == NOW + POLICY.open
    assert it.unsent


def test_a_success_between_them_keeps_it_closed() -> None:
    it = breaker()
    for _ in range(10):
        it.succeeded(epoch_of(it, NOW), NOW)
        fail(it, NOW, POLICY.consecutive - 1)
        # Else the share of failures would open it.
        for _ in range(POLICY.consecutive):
            it.succeeded(epoch_of(it, NOW), NOW)
    assert phase(it) is Phase.CLOSED


def test_half_of_many_calls_open_it() -> None:
    it = breaker()
    for _ in range(POLICY.calls // 2 - 1):
        it.succeeded(epoch_of(it, NOW), NOW)
        fail(it, NOW)
    it.succeeded(epoch_of(it, NOW), NOW)
    assert phase(it) is Phase.CLOSED
    fail(it, NOW)
    assert phase(it) is Phase.OPEN


def test_what_failed_long_ago_is_forgotten() -> None:
    it = breaker()
    for step in range(POLICY.calls):
        it.succeeded(epoch_of(it, NOW), NOW)
        fail(it, NOW + step * (POLICY.window + 1))
    assert phase(it) is Phase.CLOSED


def test_each_time_in_a_row_it_stays_open_twice_as_long() -> None:
    it, now, lengths = opened(), NOW, []
    for _ in range(7):
        lengths.append(it.circuit.until - now)
        now = it.circuit.until
        it.failed(probing(it, now), now, reason=DOWN)
    assert lengths == [5, 10, 20, 40, 60, 60, 60]


def test_jitter_adds_no_more_than_a_fifth() -> None:
    it = breaker()
    fail(it, NOW, POLICY.consecutive, jitter=1.0)
    assert it.circuit.until == NOW + POLICY.open * 1.2


def test_no_number_of_openings_overflows() -> None:
    it = breaker()
    it.heard(Circuit("p", "m", Phase.OPEN, trips=10**9, writer="w2"), 1, NOW)
    it.failed(probing(it, NOW), NOW, reason=DOWN)
    assert it.circuit.until == NOW + POLICY.longest_open


def test_the_time_that_a_provider_asks_for_is_given_within_bounds() -> None:
    for asked, given in [(1.0, 5.0), (30.0, 30.0), (3600.0, POLICY.longest_asked)]:
        it = breaker()
        fail(it, NOW, POLICY.consecutive, reason=Reason.PROVIDER_RATE_LIMITED, retry_after=asked)
        assert it.admit(NOW) == Refused(NOW + given, Reason.PROVIDER_RATE_LIMITED)


def test_soon_after_healing_it_opens_for_longer_and_later_as_at_first() -> None:
    for pause, seconds in [(POLICY.forget - 1, 10), (POLICY.forget + 1, 5)]:
        it = opened()
        healed = it.circuit.until
        it.succeeded(probing(it, healed), healed)
        fail(it, healed + pause, POLICY.consecutive)
        assert it.circuit.until - (healed + pause) == seconds


def test_a_probe_heals_with_its_first_token() -> None:
    it = opened()
    now = it.circuit.until
    probe = probing(it, now)
    assert isinstance(it.admit(now), Refused)
    epoch = it.answered(probe, now)
    assert it.admit(now) == Admitted(epoch)
    # What becomes of it later is one outcome like any other.
    it.failed(epoch, now, reason=DOWN)
    assert phase(it) is Phase.CLOSED


def test_outcomes_of_calls_from_before_say_nothing() -> None:
    """A slow failure must not open what has healed, a slow success not close what is down."""
    it = breaker()
    early = epoch_of(it, NOW)
    fail(it, NOW, POLICY.consecutive)
    it.succeeded(early, NOW)
    assert phase(it) is Phase.OPEN
    now = it.circuit.until
    it.succeeded(probing(it, now), now)
    for _ in range(POLICY.consecutive):
        it.failed(early, now, reason=DOWN)
    assert phase(it) is Phase.CLOSED


def test_a_probe_that_is_given_back_may_be_made_at_once() -> None:
    it = opened()
    # Within a millisecond too, though that is the unit of what is stored.
    now = it.circuit.until + 0.0007
    it.released(probing(it, now), now)
    assert isinstance(it.admit(now), MustClaim)
    assert it.circuit.trips == 1


def test_a_probe_without_an_end_may_be_repeated_after_its_lease() -> None:
    it = opened()
    now = it.circuit.until
    probe = probing(it, now)
    assert it.open_until(now + POLICY.lease - 1) == now + POLICY.lease
    it.extend(probe, now + POLICY.lease - 1)
    assert isinstance(it.admit(now + POLICY.lease), Refused)
    assert isinstance(it.admit(now + 2 * POLICY.lease - 1), MustClaim)


def test_a_claim_that_is_confirmed_too_late_is_none() -> None:
    """By then another may have the probe."""
    it = opened()
    now = it.circuit.until
    assert it.claimed(it.claim(now), 9, now + POLICY.lease) is None
    claim = it.claim(now)
    it.heard(Circuit("p", "m", Phase.HALF_OPEN, until_ms=round(now * 1000), writer="w2"), 10, now)
    assert it.claimed(claim, 9, now) is None


def test_while_a_claim_is_under_way_nobody_else_here_is_let_through() -> None:
    it = opened()
    now = it.circuit.until
    it.claiming = True
    assert isinstance(it.admit(now), Refused)
    claim = it.claim(now)
    # The server tells everybody, before it tells us that the claim was stored.
    it.heard(claim, 9, now)
    assert it.base == 0
    it.claiming = False
    assert it.claimed(claim, 9, now) is not None
    assert (it.base, it.unsent) == (9, False)


def test_a_stranger_clock_cannot_keep_it_open_for_long() -> None:
    it = breaker()
    it.heard(Circuit("p", "m", Phase.OPEN, until_ms=2**52, writer="w2"), 1, NOW)
    assert it.open_until(NOW) == NOW + POLICY.longest_asked


def test_older_news_are_no_news() -> None:
    it = breaker()
    it.heard(Circuit("p", "m", Phase.OPEN, until_ms=2**52, writer="w2"), 5, NOW)
    it.heard(Circuit("p", "m", writer="w2"), 4, NOW)
    assert phase(it) is Phase.OPEN


def test_who_was_first_is_right() -> None:
    """Nor is what we have taken from another written again."""
    it = opened()
    it.found(Circuit("p", "m", changed_ms=2**52, writer="w2"), 1, NOW)
    assert it.admit(NOW) == Admitted(it.epoch)
    assert (it.base, it.unsent) == (1, False)


@pytest.mark.parametrize(("seconds", "phase_then"), [(-1, Phase.OPEN), (1, Phase.CLOSED)])
def test_what_was_found_out_last_counts(seconds: float, phase_then: Phase) -> None:
    """One saw it fail while another saw it heal."""
    it = opened()
    healed = Circuit("p", "m", changed_ms=round((NOW + seconds) * 1000), writer="w2")
    it.heard(healed, 1, NOW + 1)
    assert (phase(it), it.base, it.unsent) == (phase_then, 1, seconds < 0)


def test_an_acknowledgement_that_comes_late_undoes_nothing() -> None:
    it = opened()
    ours = it.circuit
    it.heard(Circuit("p", "m", Phase.HALF_OPEN, writer="w2"), 8, NOW)
    it.stored(ours, 7)
    assert (it.base, it.unsent) == (8, False)


def test_a_write_of_ours_that_is_found_is_built_upon() -> None:
    """Its acknowledgement was lost; taken for another's, it would undo what came after it."""
    it = opened()
    older, now = it.circuit, it.circuit.until
    it.succeeded(probing(it, now, sequence=1), now)
    it.found(older, 2, now)
    assert (it.circuit.phase, it.base, it.unsent) == (Phase.CLOSED, 2, True)


def test_what_has_vanished_from_the_store_is_stored_again_if_it_matters() -> None:
    it = opened()
    it.stored(it.circuit, 3)
    it.found(None, 0, NOW)
    assert (it.base, it.unsent) == (0, True)


@pytest.mark.parametrize("reason", ["SOMETHING_NEW", ""])
def test_a_reason_of_a_newer_release_is_read(reason: str) -> None:
    assert Circuit("p", "m", opened_by=reason).reason is Reason.PROVIDER_UNAVAILABLE
