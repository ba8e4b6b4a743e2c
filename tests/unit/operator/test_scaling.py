"""The decision: too few replicas break the objective, too many burn money, a flapping one both."""

from dataclasses import replace
from typing import Any

import pytest

from tidegate_operator.scaling import (
    Decision,
    Limiter,
    PoolPolicy,
    Recent,
    Signals,
    decide,
)

IDLE = Signals(
    interactive=0,
    batch=0,
    running=0,
    oldest_seconds=0.0,
    arrival_per_second=0.0,
    service_seconds=10.0,
    tokens_per_job=None,
    usd_per_job=None,
    max_ack_pending=10_000,
    blocked=False,
    current=0,
)
POLICY = PoolPolicy(max_replicas=100, concurrency=10)
# A memory of nothing wanted, long enough.
LOOKED = Recent(-1000.0, ((-1.0, 0),))


def decided(policy: PoolPolicy = POLICY, recent: Recent = LOOKED, **signals: Any) -> Decision:
    return decide(policy, replace(IDLE, **signals), recent, 0.0)


def test_a_rate_that_fades_is_followed_in_few_steps() -> None:
    recent, seen = Recent(0.0), [40]
    for now in range(140):
        fading = replace(IDLE, arrival_per_second=32 * 0.5 ** (now / 10), running=1)
        decision = decide(POLICY, replace(fading, current=seen[-1]), recent, float(now))
        recent = decision.recent
        if decision.replicas != seen[-1]:
            seen.append(decision.replicas)
    assert seen == [40, 38, 13, 5, 2, 1]


def test_what_is_remembered_stays_small() -> None:
    recent = Recent(0.0)
    for now in range(3000):
        signals = replace(IDLE, running=10 * (now % 7), current=9)
        recent = decide(replace(POLICY, scale_in_seconds=3600.0), signals, recent, now).recent
    assert len(recent.wants) <= 7


def test_arrivals_get_the_slots_that_they_fill() -> None:
    decision = decided(arrival_per_second=8.0, running=1)
    assert (decision.replicas, decision.limiter) == (10, Limiter.NONE)
    assert decided(arrival_per_second=8.01, running=1).replicas == 11


def test_a_backlog_is_to_be_gone_in_the_time_that_is_left() -> None:
    """60 jobs of 10 s with ten slots each, in 30 - 5 - 10 s: four."""
    assert decided(batch=60, oldest_seconds=5.0).replicas == 4
    assert decided(batch=60, oldest_seconds=0.0).replicas == 3


def test_where_no_time_is_left_as_many_as_the_backlog_can_use() -> None:
    decision = decided(batch=60, oldest_seconds=20.0)
    assert (decision.replicas, decision.limiter) == (6, Limiter.USEFUL)
    assert decided(batch=10_000, oldest_seconds=20.0).limiter is Limiter.MAX


def test_a_burst_is_one_step() -> None:
    """400 jobs of 10 s and ten slots each: 20 replicas, which work after 10 s and end it in 20."""
    first = decided(batch=400)
    recent, seen = first.recent, [first.replicas]
    for now in range(1, 10):
        waits = replace(IDLE, batch=400, oldest_seconds=float(now), current=seen[-1])
        decision = decide(POLICY, waits, recent, float(now))
        recent = decision.recent
        seen.append(decision.replicas)
    assert seen == [20] * 10


def test_more_jobs_than_those_on_their_way_can_begin_get_more() -> None:
    first = decided(batch=400)
    waits = replace(IDLE, batch=410, oldest_seconds=1.0, current=20)
    assert decide(POLICY, waits, first.recent, 1.0).replicas == 22


def test_slots_that_are_taken_begin_nothing_in_time() -> None:
    first = decided(batch=400)
    waits = replace(IDLE, batch=300, running=150, oldest_seconds=9.0, current=20)
    assert decide(POLICY, waits, first.recent, 9.0).replicas == 28


def test_those_that_work_are_not_on_their_way() -> None:
    """They have had their cold start; what waits still does so for another reason."""
    first = decided(batch=400)
    waits = replace(IDLE, batch=300, oldest_seconds=12.0, current=20)
    assert decide(POLICY, waits, first.recent, 12.0).replicas == 30


def test_a_new_leader_does_not_take_what_is_there_for_on_its_way() -> None:
    recent = decide(POLICY, replace(IDLE, running=1, current=20), Recent(0.0), 0.0).recent
    waits = replace(IDLE, batch=300, oldest_seconds=10.0, current=20)
    assert decide(POLICY, waits, recent, 5.0).replicas == 30


def test_a_replica_that_would_find_no_job_is_not_added() -> None:
    """60 jobs of ten minutes would be 180 replicas in the time left, but six run them all."""
    assert decided(batch=60, service_seconds=600.0).replicas == 6
    assert decided(batch=60, service_seconds=600.0, running=40).replicas == 10


def test_as_many_as_are_useful_and_in_time_are_simply_wanted() -> None:
    decision = decided(batch=20, service_seconds=20.0)
    assert (decision.replicas, decision.limiter) == (2, Limiter.NONE)


def test_interactive_jobs_count_without_the_slots_that_are_kept_for_batch() -> None:
    assert decided(interactive=54, oldest_seconds=20.0).replicas == 6
    assert decided(interactive=55, oldest_seconds=20.0).replicas == 7


def test_interactive_jobs_behind_full_slots_get_a_replica() -> None:
    """All nine open slots of each of ten run one: the tenth is closed to those that wait."""
    decision = decided(interactive=5, running=90, oldest_seconds=20.0, current=10)
    assert decision.replicas == 11


@pytest.mark.parametrize("signals", [{"batch": 1}, {"running": 1}, {"parked": 1}])
def test_a_single_job_keeps_a_replica(signals: dict[str, Any]) -> None:
    assert decided(**signals).replicas == 1
    assert decided(**signals, current=3).replicas == 1


def test_the_shortest_job_keeps_a_replica() -> None:
    policy = replace(POLICY, concurrency=4096, objective_seconds=600.0)
    assert decided(policy, batch=1, service_seconds=0.001).replicas == 1


def test_what_was_wanted_lately_adds_no_replica() -> None:
    recent = Recent(-1000.0, ((-1.0, 50),))
    assert decided(POLICY, recent, running=1, current=2).replicas == 2
    assert decided(POLICY, recent, running=30, current=2).replicas == 3


def test_a_rate_that_fades_keeps_no_replica() -> None:
    assert decided(arrival_per_second=0.4, current=1).replicas == 0
    assert decided(arrival_per_second=0.8, current=1).replicas == 1


def test_the_running_are_the_floor() -> None:
    decision = decided(running=41, current=9)
    assert (decision.replicas, decision.limiter) == (5, Limiter.RUNNING)


def test_the_minimum_yields_to_a_tighter_bound() -> None:
    policy = replace(POLICY, min_replicas=5, usd_per_hour=36.0)
    assert decided(policy).replicas == 5
    assert decided(policy).limiter is Limiter.MIN
    decision = decided(policy, usd_per_job=0.01)
    assert (decision.replicas, decision.limiter) == (1, Limiter.COST_CAP)


@pytest.mark.parametrize(
    ("limits", "signals", "replicas", "limiter"),
    [
        ({}, {}, 100, Limiter.MAX),
        ({}, {"max_ack_pending": 59}, 5, Limiter.ACK_PENDING),
        ({}, {"max_ack_pending": 9}, 1, Limiter.ACK_PENDING),
        ({}, {"max_ack_pending": -1}, 100, Limiter.MAX),
        # A replica: 10 jobs of 200 tokens in 10 s are 200 tokens a second.
        ({"tokens_per_second": 999.0}, {"tokens_per_job": 200.0}, 4, Limiter.TOKEN_BUDGET),
        ({"tokens_per_second": 1000.0}, {"tokens_per_job": 200.0}, 5, Limiter.TOKEN_BUDGET),
        ({"tokens_per_second": 1.0}, {"tokens_per_job": 200.0}, 1, Limiter.TOKEN_BUDGET),
        ({"tokens_per_second": 1.0}, {"tokens_per_job": None}, 100, Limiter.MAX),
        # A replica: a job a second at a cent is 36 USD an hour.
        ({"usd_per_hour": 75.0}, {"usd_per_job": 0.01}, 2, Limiter.COST_CAP),
        ({"usd_per_hour": 75.0}, {"usd_per_job": 0.0}, 100, Limiter.MAX),
        ({}, {"blocked": True, "current": 7}, 7, Limiter.OUTAGE),
        ({}, {"blocked": True, "current": 0}, 1, Limiter.OUTAGE),
    ],
)
def test_each_bound(
    limits: dict[str, Any], signals: dict[str, Any], replicas: int, limiter: Limiter
) -> None:
    decision = decided(
        replace(POLICY, **limits),
        batch=100_000,
        oldest_seconds=60.0,
        **signals,
    )
    assert (decision.replicas, decision.limiter) == (replicas, limiter)
    assert decision.wanted == 10_000


def test_after_a_gap_one_looks_as_long_again() -> None:
    recent = Recent(0.0)
    for now in range(60):
        recent = decide(POLICY, replace(IDLE, current=3), recent, float(now)).recent
    assert decide(POLICY, replace(IDLE, current=3), recent, 60.0).replicas == 0
    blind = decide(POLICY, replace(IDLE, current=3), recent, 90.0)
    assert (blind.replicas, blind.limiter) == (3, Limiter.STABILIZING)
    assert blind.recent.since == 90.0


def test_a_bound_that_falls_is_heeded_at_once() -> None:
    policy = replace(POLICY, max_replicas=4)
    assert decided(policy, Recent(0.0), running=90, current=9).replicas == 4


@pytest.mark.parametrize(
    ("policy", "signals", "reason"),
    [
        ({}, {}, "nothing waits or runs: 0 replicas"),
        (
            {},
            {
                "batch": 31,
                "oldest_seconds": 4.2,
                "arrival_per_second": 16.0,
                "service_seconds": 2.4,
            },
            "31 wait, the oldest 4.2 s; 16.0 arrive a second and take 2.4 s: 5 replicas",
        ),
        ({}, {"running": 1, "current": 1}, "1 runs: 1 replica, a slot for each that runs"),
        ({"pin": 3}, {"batch": 1}, "1 waits, the oldest 0.0 s: 3 replicas, pinned; 1 wanted"),
        (
            {"scale_in_seconds": 2000.0},
            {"current": 8},
            "nothing waits or runs: 8 replicas until fewer have been enough for 2000 s",
        ),
        (
            {"max_replicas": 50},
            {"running": 1000, "current": 50},
            "1,000 run: 50 replicas, the maximum, of 100 wanted",
        ),
        (
            {},
            {"parked": 2, "blocked": True, "current": 1, "arrival_per_second": 8.0, "running": 1},
            "1 runs; 2 parked until a provider answers; 8.0 arrive a second and take 10.0 s: "
            "1 replica of 10 wanted, for no provider answers",
        ),
    ],
)
def test_the_reason_is_a_sentence_with_the_numbers(
    policy: dict[str, Any], signals: dict[str, Any], reason: str
) -> None:
    assert decided(replace(POLICY, **policy), **signals).reason == reason


@pytest.mark.parametrize("limiter", Limiter)
def test_every_limiter_has_its_words(limiter: Limiter) -> None:
    """Else a decision would end its loop by raising."""
    from tidegate_operator import scaling

    sentence = scaling._VERDICTS[limiter]
    policy = replace(POLICY, tokens_per_second=900.0, usd_per_hour=5.0)
    assert sentence.format(told="2 replicas", wanted="3", policy=policy, signals=IDLE)
