"""What workers tell: a mean that is wrong scales wrongly, a worker that is gone is no worker."""

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.contracts.load import WorkerLoad
from tidegate_operator.workers import Workers

QUEUE = "chat"
Tell = Callable[..., None]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def workers(clock: Clock) -> Workers:
    return Workers(clock)


@pytest.fixture
def tell(workers: Workers) -> Tell:
    def tell(worker: str = "w1", **told: Any) -> None:
        said: dict[str, Any] = {
            "queue": QUEUE,
            "host": f"pod-of-{worker}",
            "slots": 8,
            "running": 0,
            "waiting": 0,
            "blocked": False,
            "draining": False,
            "ended": 0,
            "busy_seconds": 0.0,
            "output_tokens": 0,
            "nano_usd": 0,
            "priced": 0,
        }
        workers.hear(WorkerLoad(worker=worker, **(said | told)))

    return tell


def service_seconds(workers: Workers) -> float:
    told = workers.told(QUEUE)
    assert told is not None
    assert told.service_seconds is not None
    return told.service_seconds


def test_nobody_that_tells_is_not_the_same_as_nothing_that_runs(
    workers: Workers, tell: Tell
) -> None:
    assert workers.told(QUEUE) is None
    tell(queue="code", running=3)
    assert workers.told(QUEUE) is None
    tell(running=0)
    told = workers.told(QUEUE)
    assert told is not None
    assert told.running == 0
    assert told.service_seconds is None


def test_what_all_hold_is_added_up_and_the_last_word_counts(workers: Workers, tell: Tell) -> None:
    tell("w1", running=8, waiting=2)
    tell("w1", running=5, waiting=1)
    tell("w2", running=2)
    told = workers.told(QUEUE)
    assert told is not None
    assert (told.running, told.waiting) == (7, 1)


def test_who_is_silent_for_three_words_is_gone(workers: Workers, tell: Tell, clock: Clock) -> None:
    tell("w1", running=8)
    clock.now += 4.0
    tell("w2", running=1)
    assert workers.running_by_host(QUEUE) == {"pod-of-w1": 8, "pod-of-w2": 1}
    clock.now += 3.0
    assert workers.running_by_host(QUEUE) == {"pod-of-w2": 1}
    clock.now += 6.0
    assert workers.told(QUEUE) is None


def test_blocked_only_where_all_that_take_jobs_say_so(workers: Workers, tell: Tell) -> None:
    def blocked() -> bool:
        told = workers.told(QUEUE)
        assert told is not None
        return told.blocked

    tell("w1", blocked=True)
    assert blocked()
    tell("w2", blocked=False)
    assert not blocked()
    tell("w2", blocked=False, draining=True)
    assert blocked()
    # Of those that drain nobody says anything about the provider.
    tell("w1", blocked=True, draining=True)
    assert not blocked()


def test_a_worker_that_drains_is_no_candidate_for_being_taken_away(
    workers: Workers, tell: Tell
) -> None:
    tell("w1", running=3, draining=True)
    tell("w2", running=1)
    assert workers.running_by_host(QUEUE) == {"pod-of-w2": 1}


def test_means_are_over_jobs_and_not_over_workers(workers: Workers, tell: Tell) -> None:
    for worker in ("w1", "w2"):
        tell(worker)
    tell("w1", ended=30, busy_seconds=30.0, output_tokens=3000, nano_usd=10**9, priced=10)
    tell("w2", ended=10, busy_seconds=50.0, output_tokens=1000)
    told = workers.told(QUEUE)
    assert told is not None
    assert told.service_seconds == pytest.approx(2.0)
    assert told.tokens_per_job == pytest.approx(100.0)
    # Of those whose price is known.
    assert told.usd_per_job == pytest.approx(0.1)


def test_counters_are_of_a_whole_life_and_only_what_came_since_counts(
    workers: Workers, tell: Tell, clock: Clock
) -> None:
    tell(ended=0)
    tell(ended=10, busy_seconds=10.0)
    clock.now += 2.0
    tell(ended=10, busy_seconds=10.0)
    assert service_seconds(workers) == pytest.approx(1.0)


def test_what_was_fades_with_time(workers: Workers, tell: Tell, clock: Clock) -> None:
    tell()
    tell(ended=100, busy_seconds=100.0)
    for _ in range(30):  # a minute, without any job that ends
        clock.now += 2.0
        tell(ended=100, busy_seconds=100.0)
    assert service_seconds(workers) == pytest.approx(1.0)
    # Half of the hundred is left, beside a hundred that took four seconds each.
    tell(ended=200, busy_seconds=500.0)
    assert service_seconds(workers) == pytest.approx((50 + 400) / 150)


def test_one_that_was_not_heard_before_tells_but_does_not_rule(
    workers: Workers, tell: Tell
) -> None:
    tell("w1")
    tell("w1", ended=50, busy_seconds=50.0)
    # A month of work, of which nobody knows when it was.
    tell("w2", ended=1_000_000, busy_seconds=3_000_000.0)
    assert service_seconds(workers) == pytest.approx(2.0)


def test_a_leader_that_begins_learns_from_the_first_word(workers: Workers, tell: Tell) -> None:
    tell(ended=7, busy_seconds=14.0, output_tokens=700)
    assert service_seconds(workers) == pytest.approx(2.0)


def test_workers_that_come_and_go_leave_nothing_where_nobody_asks(
    workers: Workers, tell: Tell, clock: Clock
) -> None:
    for number in range(1000):
        tell(f"w{number}")
        clock.now += 2.0
    assert len(workers._heard[QUEUE]) < 10


def test_a_queue_without_a_pool_is_forgotten(workers: Workers, tell: Tell) -> None:
    tell(running=3)
    tell(queue="code", running=2)
    workers.forget_all_but({QUEUE, "unheard"})
    assert workers.told("code") is None
    assert workers.told(QUEUE) is not None
