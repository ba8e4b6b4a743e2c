"""What is computed of a fleet's snapshots, for the gateway's answer and the command line alike."""

import pytest

from tests.support.figures import Worker, completed
from tidegate.figures.stats import StatsJson, StatsQueue, stats_of

QUEUES = [
    StatsQueue(queue="zebra", job_class="interactive", waiting=1, running=0, oldest_s=0.5),
    StatsQueue(queue="default", job_class="batch", waiting=0, running=2, oldest_s=0.0),
]


def two_workers() -> StatsJson:
    one, other = Worker("a"), Worker("b", host="elsewhere", started_at=30.0)
    for _ in range(95):
        one.answer(0.3, end=completed(2_000_000))
    for _ in range(5):
        other.answer(15.0, ttft=3.0, end=completed(2_000_000))
    other.answer(0.01, ttft=0.01, tier="exact", end=completed(saved=2_000_000))
    other.answer(route="unpriced", end=completed(None))
    for _ in range(6):
        one.figures.looked_up("miss")
    other.figures.looked_up("hit", "exact")
    other.figures.looked_up("hit", "coalesced")
    for outcome in ("shadow", "timeout", "bypass"):
        other.figures.looked_up(outcome)
    return stats_of([one.tell(), other.tell()], QUEUES, 60.0)


def test_response_times_are_of_all_workers_together() -> None:
    """The mean of two workers' 95th percentiles would be the percentile of nothing."""
    stats = two_workers()
    route = next(each for each in stats.routes if each.route == "sim-small")
    assert route.response.count == 101
    assert route.response.p50 is not None
    assert 0.25 < route.response.p50 <= 0.5
    assert route.response.p99 is not None
    assert 10 < route.response.p99 <= 20
    assert route.ttft.count == 101
    assert [tier.tier for tier in route.tiers] == ["miss", "exact"]
    assert stats.all.response.count == 102


def test_the_cache_is_measured_by_what_it_could_have_had() -> None:
    cache = two_workers().cache
    assert (cache.lookups, cache.misses, cache.shadows, cache.bypassed) == (11, 6, 1, 1)
    assert cache.without_answer == 1
    assert cache.hit_ratio == pytest.approx(0.2)
    assert {tier.tier: tier.hits for tier in cache.tiers} == {
        "exact": 1,
        "semantic": 0,
        "coalesced": 1,
    }


def test_what_is_not_known_of_the_cost_is_told_apart() -> None:
    stats = two_workers()
    assert stats.cost.interactions == 102
    assert stats.cost.unknown == 1
    assert stats.cost.usd == pytest.approx(0.2)
    assert stats.cost.mean_usd == pytest.approx(0.2 / 101)
    unpriced = next(each for each in stats.routes if each.route == "unpriced")
    assert (unpriced.cost.unknown, unpriced.cost.mean_usd, unpriced.cost.usd) == (1, None, 0.0)
    assert {each.tier: each.usd for each in stats.saved}["exact"] == pytest.approx(0.002)


def test_queues_and_processes_are_in_it() -> None:
    stats = two_workers()
    assert [queue.queue for queue in stats.queues] == ["default", "zebra"]
    assert [(each.process, each.host) for each in stats.processes] == [
        ("a", "host"),
        ("b", "elsewhere"),
    ]


def test_a_platform_without_workers_has_no_figures_and_no_error() -> None:
    stats = stats_of([], [], 1.0)
    assert stats.all.response.p95 is None
    assert stats.cache.hit_ratio is None
    assert stats.cost.mean_usd is None
    assert stats.routes == []


def test_with_nothing_but_bypasses_there_is_no_ratio() -> None:
    worker = Worker()
    worker.figures.looked_up("bypass")
    assert stats_of([worker.tell()], [], 1.0).cache.hit_ratio is None
