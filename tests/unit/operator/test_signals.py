"""The signals: a job counted twice adds pods for nothing, one not counted waits for ever."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.scaling import Signals
from tidegate_operator.signals import (
    HALF_LIFE_SECONDS,
    Ages,
    Arrivals,
    ConsumerLook,
    Means,
    Told,
    oldest_seconds,
    signals_of,
)

EMPTY = ConsumerLook(num_pending=0, num_ack_pending=0, consumer_sequence=0, max_ack_pending=10_000)
TOLD = Told(
    running=0,
    waiting=0,
    blocked=False,
    service_seconds=None,
    tokens_per_job=None,
    usd_per_job=None,
)

looks = st.builds(
    ConsumerLook,
    num_pending=st.integers(0, 10**6),
    num_ack_pending=st.integers(0, 10**4),
    consumer_sequence=st.integers(0, 10**9),
    max_ack_pending=st.sampled_from([-1, 1000, 10_000]),
)
tellings = st.builds(
    Told,
    running=st.integers(0, 10**4),
    waiting=st.just(0),
    blocked=st.booleans(),
    service_seconds=st.none(),
    tokens_per_job=st.none(),
    usd_per_job=st.none(),
)


def signals(
    interactive: ConsumerLook = EMPTY,
    batch: ConsumerLook = EMPTY,
    told: Told | None = None,
    current: int = 1,
    ages: Ages = Ages(),  # noqa: B008 - frozen
) -> Signals:
    return signals_of(
        interactive,
        batch,
        told,
        ages=ages,
        arrival_per_second=1.5,
        means=Means(10.0, 300.0, 0.002),
        guess_seconds=7.0,
        current=current,
    )


@given(interactive=looks, batch=looks, told=st.none() | tellings, current=st.integers(0, 3))
def test_every_job_is_in_one_place(
    interactive: ConsumerLook, batch: ConsumerLook, told: Told | None, current: int
) -> None:
    """But for what workers tell of jobs that have just ended."""
    found = signals(interactive, batch, told, current)
    delivered = interactive.num_ack_pending + batch.num_ack_pending
    depth = interactive.depth + batch.depth
    assert found.waiting + found.parked + min(found.running, delivered) == depth
    assert found.interactive >= interactive.num_pending
    assert found.batch >= batch.num_pending


def test_what_was_never_delivered_waits() -> None:
    found = signals(replace(EMPTY, num_pending=3), replace(EMPTY, num_pending=4))
    assert (found.interactive, found.batch, found.running) == (3, 4, 0)


def test_what_no_worker_holds_waits_again() -> None:
    interactive, batch = replace(EMPTY, num_ack_pending=5), replace(EMPTY, num_ack_pending=7)
    found = signals(interactive, batch, replace(TOLD, running=4))
    assert (found.interactive, found.batch, found.running) == (5, 3, 4)


def test_what_was_handed_back_in_an_outage_is_parked_and_does_not_wait() -> None:
    interactive, batch = replace(EMPTY, num_pending=2), replace(EMPTY, num_ack_pending=7)
    found = signals(interactive, batch, replace(TOLD, running=4, blocked=True))
    assert (found.interactive, found.batch, found.running, found.parked) == (2, 0, 4, 3)
    assert found.blocked


def test_where_no_worker_tells_they_may_hold_everything() -> None:
    batch = replace(EMPTY, num_ack_pending=7)
    found = signals(batch=batch, current=2)
    assert (found.batch, found.running, found.blocked) == (0, 7, False)


def test_without_a_replica_nobody_holds_anything() -> None:
    found = signals(batch=replace(EMPTY, num_ack_pending=7), current=0)
    assert (found.batch, found.running) == (7, 0)


def test_workers_that_end_may_still_hold_jobs_at_zero_replicas() -> None:
    batch = replace(EMPTY, num_ack_pending=7)
    found = signals(batch=batch, told=replace(TOLD, running=7), current=0)
    assert (found.batch, found.running) == (0, 7)


@pytest.mark.parametrize(
    ("ages", "told", "age"),
    [
        (Ages(), None, 0.0),
        (Ages(undelivered=3.0), None, 3.0),
        (Ages(unacknowledged=9.0), None, 9.0),
        (Ages(undelivered=3.0, unacknowledged=9.0), None, 9.0),
        (Ages(undelivered=3.0, unacknowledged=9.0), TOLD, 3.0),
        (Ages(unacknowledged=9.0), TOLD, 0.0),
    ],
)
def test_a_job_that_a_worker_holds_does_not_wait(ages: Ages, told: Told | None, age: float) -> None:
    assert oldest_seconds(ages, told) == age
    assert signals(told=told, ages=ages).oldest_seconds == age


def test_what_nobody_tells_stays_as_it_was() -> None:
    untold = signals()
    known = (untold.service_seconds, untold.tokens_per_job, untold.usd_per_job)
    assert known == (10.0, 300.0, 0.002)
    told = signals(told=replace(TOLD, service_seconds=2.0, tokens_per_job=80.0))
    assert (told.service_seconds, told.tokens_per_job, told.usd_per_job) == (2.0, 80.0, 0.002)
    assert told.arrival_per_second == 1.5


def test_the_tighter_consumer_bounds() -> None:
    free = replace(EMPTY, max_ack_pending=-1)
    assert signals(free, free).max_ack_pending == 0
    assert signals(free, EMPTY).max_ack_pending == 10_000
    assert signals(replace(EMPTY, max_ack_pending=9), EMPTY).max_ack_pending == 9


def look(total: int, delivered: int = 0) -> ConsumerLook:
    return replace(EMPTY, num_pending=total - delivered, consumer_sequence=delivered)


def test_the_first_look_says_only_from_where_to_count() -> None:
    assert Arrivals().seen(look(500), 10.0).per_second == 0.0


def test_a_constant_rate_is_found() -> None:
    arrivals = Arrivals().seen(look(0), 0.0)
    for now in range(1, 101):
        arrivals = arrivals.seen(look(7 * now, delivered=6 * now), float(now))
    assert arrivals.per_second == pytest.approx(7.0, rel=0.01)


def test_a_past_rate_counts_half_after_its_half_life() -> None:
    arrivals = replace(Arrivals().seen(look(0), 0.0), per_second=8.0)
    assert arrivals.seen(look(0), HALF_LIFE_SECONDS).per_second == pytest.approx(4.0)


@given(steps=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_delivery_is_no_arrival(steps: list[tuple[int, int]]) -> None:
    """However the jobs go on to workers, what is counted is what came."""
    came = delivered = 0
    held, untouched = Arrivals().seen(look(0), 0.0), Arrivals().seen(look(0), 0.0)
    for now, (more, taken) in enumerate(steps, 1):
        came += more
        delivered = min(came, delivered + taken)
        held = held.seen(look(came, delivered), float(now))
        untouched = untouched.seen(look(came), float(now))
        assert held.per_second == pytest.approx(untouched.per_second)


@given(totals=st.lists(st.integers(0, 1000), min_size=2, max_size=20))
def test_a_rate_is_never_below_zero(totals: list[int]) -> None:
    """Jobs that are cancelled while they wait leave without having been delivered."""
    arrivals = Arrivals()
    for now, total in enumerate(totals):
        arrivals = arrivals.seen(look(total), float(now))
        assert arrivals.per_second >= 0


def test_how_often_one_looks_does_not_matter() -> None:
    rarely, often = Arrivals().seen(look(0), 0.0), Arrivals().seen(look(0), 0.0)
    for tenth in range(1, 301):
        often = often.seen(look(tenth), tenth / 10)
        if tenth % 50 == 0:
            rarely = rarely.seen(look(tenth), tenth / 10)
    assert rarely.per_second == pytest.approx(often.per_second)


def test_a_consumer_made_anew_is_no_flood() -> None:
    """It delivers all that is in the stream once more, from sequence 0 on."""
    arrivals = replace(Arrivals(), per_second=2.0).seen(look(1000, delivered=900), 0.0)
    anew = arrivals.seen(look(5000), 1.0)
    assert anew.per_second == 2.0
    assert anew.seen(look(5000), 11.0).per_second == pytest.approx(1.0)


def test_two_looks_at_one_moment_divide_by_nothing() -> None:
    arrivals = Arrivals().seen(look(10), 5.0)
    assert arrivals.seen(look(20), 5.0) == arrivals
