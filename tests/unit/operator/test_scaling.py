"""The decision: too few replicas break the objective, too many burn money, a flapping one both."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

amounts = partial(st.floats, allow_nan=False, allow_infinity=False)
policies = st.builds(
    PoolPolicy,
    min_replicas=st.integers(0, 50),
    max_replicas=st.integers(50, 200),
    concurrency=st.integers(2, 4096),
    objective_seconds=amounts(0.1, 600),
    utilization=amounts(0.1, 1),
    cold_start_seconds=amounts(0, 60),
    scale_in_seconds=amounts(0, 600),
    tokens_per_second=st.none() | amounts(0.01, 1e6),
    usd_per_hour=st.none() | amounts(0.01, 1e4),
)
signals_seen = st.builds(
    Signals,
    interactive=st.integers(0, 100_000),
    batch=st.integers(0, 100_000),
    running=st.integers(0, 10_000),
    oldest_seconds=amounts(0, 1000),
    arrival_per_second=amounts(0, 1000),
    service_seconds=amounts(0.001, 600),
    tokens_per_job=st.none() | amounts(0, 1e5),
    usd_per_job=st.none() | amounts(0, 10),
    max_ack_pending=st.integers(-1, 20_000),
    blocked=st.booleans(),
    current=st.integers(0, 200),
    parked=st.integers(0, 100),
)
memories = st.builds(
    Recent,
    since=amounts(-2000, 0),
    wants=st.lists(st.integers(0, 300), max_size=5).map(
        lambda wants: tuple(
            (float(index - len(wants)), want)
            for index, want in enumerate(sorted(wants, reverse=True))
        )
    ),
)


def decided(policy: PoolPolicy = POLICY, recent: Recent = LOOKED, **signals: Any) -> Decision:
    return decide(policy, replace(IDLE, **signals), recent, 0.0)


def upper_bound(policy: PoolPolicy, signals: Signals) -> int:
    """By other words than the decision's: what a full fleet of so many would use."""
    most = policy.max_replicas
    if signals.max_ack_pending > 0:
        most = min(most, max(1, signals.max_ack_pending // policy.concurrency))
    if signals.blocked:
        most = min(most, max(1, signals.current))
    return most


def spends(policy: PoolPolicy, signals: Signals, replicas: int) -> tuple[float, float]:
    """Tokens a second and USD an hour of so many replicas with every slot in use."""
    jobs = replicas * policy.concurrency / signals.service_seconds
    return jobs * (signals.tokens_per_job or 0), jobs * (signals.usd_per_job or 0) * 3600


@given(policy=policies, signals=signals_seen, recent=memories)
def test_no_bound_is_ever_exceeded(policy: PoolPolicy, signals: Signals, recent: Recent) -> None:
    replicas = decide(policy, signals, recent, 0.0).replicas
    assert 0 <= replicas <= upper_bound(policy, signals)
    if replicas > 1:
        tokens, usd = spends(policy, signals, replicas)
        assert policy.tokens_per_second is None or tokens <= policy.tokens_per_second * 1.000001
        assert policy.usd_per_hour is None or usd <= policy.usd_per_hour * 1.000001


@given(policy=policies, signals=signals_seen, recent=memories)
def test_what_runs_keeps_its_slots_unless_a_bound_forbids(
    policy: PoolPolicy, signals: Signals, recent: Recent
) -> None:
    decision = decide(policy, signals, recent, 0.0)
    bounds = {
        Limiter.MAX,
        Limiter.ACK_PENDING,
        Limiter.TOKEN_BUDGET,
        Limiter.COST_CAP,
        Limiter.OUTAGE,
    }
    if decision.limiter not in bounds:
        assert decision.replicas >= math.ceil(signals.running / policy.concurrency)
        assert decision.replicas >= policy.min_replicas


@given(
    policy=policies,
    signals=signals_seen,
    recent=memories,
    more=st.tuples(st.integers(0, 100_000), st.integers(0, 100_000)),
)
def test_a_larger_backlog_never_gets_fewer(
    policy: PoolPolicy, signals: Signals, recent: Recent, more: tuple[int, int]
) -> None:
    larger = replace(
        signals, interactive=signals.interactive + more[0], batch=signals.batch + more[1]
    )
    assert (
        decide(policy, larger, recent, 0.0).replicas
        >= decide(policy, signals, recent, 0.0).replicas
    )


@given(policy=policies, signals=signals_seen, recent=memories)
def test_zero_only_when_nothing_waits_or_runs(
    policy: PoolPolicy, signals: Signals, recent: Recent
) -> None:
    if signals.waiting or signals.running or signals.parked:
        assert decide(policy, signals, recent, 0.0).replicas >= 1


@given(policy=policies, signals=signals_seen, recent=memories)
def test_an_outage_adds_nothing(policy: PoolPolicy, signals: Signals, recent: Recent) -> None:
    decision = decide(policy, replace(signals, blocked=True), recent, 0.0)
    assert decision.replicas <= max(signals.current, 1)


@given(policy=policies, signals=signals_seen, recent=memories, pin=st.integers(0, 5000))
def test_a_pin_rules(policy: PoolPolicy, signals: Signals, recent: Recent, pin: int) -> None:
    decision = decide(replace(policy, pin=pin), signals, recent, 0.0)
    assert (decision.replicas, decision.limiter) == (pin, Limiter.PIN)
    assert decision.wanted == decide(policy, signals, recent, 0.0).wanted


@given(policy=policies, signals=signals_seen, began=amounts(0, 600))
def test_without_a_memory_nothing_is_taken_away(
    policy: PoolPolicy, signals: Signals, began: float
) -> None:
    if began < policy.scale_in_seconds:
        decision = decide(policy, signals, Recent(-began, ((-1.0, 0),)), 0.0)
        allowed = min(signals.current, upper_bound(policy, signals))
        spending = {Limiter.TOKEN_BUDGET, Limiter.COST_CAP}
        assert decision.replicas >= allowed or budget_cuts(policy, signals, spending)


def budget_cuts(policy: PoolPolicy, signals: Signals, limiters: set[Limiter]) -> bool:
    """Whether a budget alone allows fewer than there are, seen by asking for far too many."""
    flood = replace(
        signals, interactive=10**9, oldest_seconds=1e9, blocked=False, max_ack_pending=0
    )
    crowd = decide(replace(policy, max_replicas=10**6), flood, Recent(0.0), 0.0)
    return crowd.limiter in limiters and crowd.replicas < signals.current


@given(policy=policies, signals=signals_seen, recent=memories)
def test_the_way_up_is_one_step(policy: PoolPolicy, signals: Signals, recent: Recent) -> None:
    first = decide(policy, signals, recent, 0.0)
    if first.replicas > signals.current:
        second = decide(policy, replace(signals, current=first.replicas), first.recent, 1.0)
        assert second.replicas == first.replicas


@given(policy=policies, signals=signals_seen)
def test_constant_signals_give_one_change_at_most_each_way(
    policy: PoolPolicy, signals: Signals
) -> None:
    recent, replicas, seen = Recent(0.0), signals.current, [signals.current]
    for second in range(0, 750, 10):
        decision = decide(policy, replace(signals, current=replicas), recent, float(second))
        recent, replicas = decision.recent, decision.replicas
        if seen[-1] != replicas:
            seen.append(replicas)
    assert len(seen) <= 3
    assert len(set(seen)) == len(seen)


@given(
    wants=st.lists(st.integers(0, 90), min_size=1, max_size=80), seconds=st.sampled_from([5, 20])
)
def test_the_way_down_follows_the_most_that_was_wanted_lately(
    wants: list[int], seconds: int
) -> None:
    """Against the plain rule: the largest want of so many looks, one each second."""
    policy = replace(POLICY, scale_in_seconds=float(seconds))
    recent, current = Recent(0.0), 0
    for now, want in enumerate(wants):
        signals = replace(IDLE, running=want * 10, current=current)
        decision = decide(policy, signals, recent, float(now))
        lately = max(wants[max(0, now - seconds + 1) : now + 1])
        kept = current if now < seconds else min(current, lately)
        assert decision.wanted == want
        assert decision.replicas == max(want, kept)
        recent, current = decision.recent, decision.replicas


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


def test_a_replica_that_would_find_no_job_is_not_added() -> None:
    """60 jobs of ten minutes would be 180 replicas in the time left, but six run them all."""
    assert decided(batch=60, service_seconds=600.0).replicas == 6
    assert decided(batch=60, service_seconds=600.0, running=40).replicas == 10


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
