"""Tests of the platform aim faults at single calls: one that hits another call is a false alarm."""

from random import Random

import pytest

from tidegate.simulator.faults import (
    Behaviour,
    Break,
    CallPlan,
    Failure,
    Fault,
    FaultBook,
    Override,
    parse_header,
    plan_call,
)


def planned(behaviour: Behaviour, length: int = 10, seed: int = 1) -> CallPlan:
    plan = plan_call(behaviour, length, Random(seed))
    assert isinstance(plan, CallPlan)
    return plan


def test_the_header_sets_what_it_names_and_nothing_else() -> None:
    override = parse_header("ttft=0.5; tokens_per_s=100;cut_after=5;stall_after=3;stall_s=30;")
    assert override == Override(ttft=0.5, tokens_per_s=100, cut_after=5, stall_after=3, stall_s=30)
    changed = Behaviour(jitter=0.5).overridden(override)
    assert (changed.ttft, changed.jitter, changed.cut_after) == (0.5, 0.5, 5)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("ttft", "name=value"),
        ("colour=red", "colour"),
        ("ttft=soon", "ttft"),
        ("fail=200", "fail"),
        ("jitter=2", "jitter"),
        ("cut_after=-1", "cut_after"),
        ("tokens_per_s=0", "tokens_per_s"),
    ],
)
def test_a_header_that_makes_no_sense_says_where(header: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_header(header)


def test_a_fault_holds_for_so_many_calls_and_only_those_that_match() -> None:
    book = FaultBook()
    book.add(Fault(fail=500, calls=2, model="sim-large"))
    assert book.take("chat", "sim-small") is None
    assert book.take("embeddings", "sim-large") is None
    assert [book.take("chat", "sim-large") is not None for _ in range(3)] == [True, True, False]
    assert book.active() == []


def test_the_oldest_fault_comes_first_and_the_next_takes_its_place() -> None:
    book = FaultBook()
    book.add(Fault(fail=429, calls=1))
    book.add(Fault(fail=503))
    statuses = [fault.fail for _ in range(3) if (fault := book.take("chat", "any"))]
    assert statuses == [429, 503, 503]
    book.clear()
    assert book.take("chat", "any") is None


def test_a_failure_says_when_to_come_back_where_its_status_has_such_a_time() -> None:
    dice = Random(1)
    assert plan_call(Behaviour(fail=429, retry_after=2), 10, dice) == Failure(429, 2)
    assert plan_call(Behaviour(fail=500, retry_after=2), 10, dice) == Failure(500, None)


def test_rates_hit_their_share_of_calls() -> None:
    behaviour = Behaviour(error_rate=0.2, rate_limit_rate=0.1, cut_rate=0.5, stall_rate=0.25)
    dice = Random(7)
    plans = [plan_call(behaviour, 10, dice) for _ in range(10_000)]
    failures = [plan.status for plan in plans if isinstance(plan, Failure)]
    others = [plan for plan in plans if isinstance(plan, CallPlan)]
    cut = [plan.break_after for plan in others if plan.break_after >= 0]
    stalled = [plan.stall_after for plan in others if plan.stall_after >= 0]
    assert 0.18 < failures.count(500) / 10_000 < 0.22
    assert 0.08 < failures.count(429) / 10_000 < 0.12
    assert 0.47 < len(cut) / len(others) < 0.53
    assert set(cut) == set(range(1, 11))
    assert 0.22 < len(stalled) / len(others) < 0.28
    assert set(stalled) == set(range(10))


def test_nothing_goes_wrong_that_nobody_asked_for() -> None:
    plan = planned(Behaviour())
    assert (plan.break_after, plan.stall_after, plan.ttft) == (-1, -1, 0.2)


def test_the_first_of_several_breaks_is_the_one_that_happens() -> None:
    plan = planned(Behaviour(cut_after=5, error_after=3, end_after=9, cut_rate=1))
    assert (plan.break_after, plan.break_kind) == (3, Break.ERROR)


def test_the_same_seed_draws_the_same_fates() -> None:
    behaviour = Behaviour(jitter=1, cut_rate=0.5, stall_rate=0.5)
    assert planned(behaviour, seed=3) == planned(behaviour, seed=3)
