"""The laws of the decision, whatever comes: a platform team relies on them without reading it."""

import math
from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.scaling import Limiter, PoolPolicy, Recent, Signals, decide

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


def only_running(running: int, current: int) -> Signals:
    return Signals(
        interactive=0,
        batch=0,
        running=running,
        oldest_seconds=0.0,
        arrival_per_second=0.0,
        service_seconds=10.0,
        tokens_per_job=None,
        usd_per_job=None,
        max_ack_pending=10_000,
        blocked=False,
        current=current,
    )


@given(
    wants=st.lists(st.integers(0, 90), min_size=1, max_size=80), seconds=st.sampled_from([5, 20])
)
def test_the_way_down_follows_the_most_that_was_wanted_lately(
    wants: list[int], seconds: int
) -> None:
    """Against the plain rule: the largest want of so many looks, one each second.

    A step that is seen at one look is followed by none for a quarter of that time.
    """
    policy = PoolPolicy(max_replicas=100, concurrency=10, scale_in_seconds=float(seconds))
    recent, current, lowered = Recent(0.0), 0, -math.inf
    for now, want in enumerate(wants):
        signals = only_running(want * 10, current)
        decision = decide(policy, signals, recent, float(now))
        lately = max(wants[max(0, now - seconds + 1) : now + 1])
        pauses = now < seconds or now - lowered < seconds / 4
        kept = current if pauses else min(current, lately)
        assert decision.wanted == want
        assert decision.replicas == max(want, kept)
        if decision.replicas < current:
            lowered = now + 1
        recent, current = decision.recent, decision.replicas
