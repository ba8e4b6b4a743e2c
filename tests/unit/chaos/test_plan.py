"""A seed says everything: what is printed must show the same round again."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import LONG_TOKENS, Blow, Leader, Surface, Wire, draw

PROCESSES = ("gateway-1", "worker-1", "nats-1")


@given(st.integers(0, 10**6))
def test_the_same_seed_is_the_same_plan(seed: int) -> None:
    one, other = (draw(seed, jobs=20, seconds=5, processes=PROCESSES) for _ in range(2))
    assert one == other
    assert draw(seed + 1, jobs=20, seconds=5, processes=PROCESSES) != one


def test_a_plan_has_everything_in_it() -> None:
    plans = [draw(seed, jobs=250, seconds=15, processes=PROCESSES) for seed in range(20)]
    jobs = [job for plan in plans for job in plan.jobs]
    faults = [fault for plan in plans for fault in plan.faults]
    assert {job.surface for job in jobs} == set(Surface)
    assert {fault.blow for fault in faults} == set(Blow)
    assert {fault.target for fault in faults} == {*PROCESSES, *map(str, Wire)}
    assert {bool(job.request_id) for job in jobs} == {True, False}
    assert any(job.cancel_after is not None for job in jobs)
    assert any(job.ttl is not None for job in jobs)
    assert len({job.question for job in jobs}) < len(jobs)
    assert any(job.tokens == 0 for job in jobs)
    ids = [job.request_id for job in jobs if job.request_id]
    assert len(ids) == len(set(ids))


def test_an_answer_of_a_minute_is_asked_of_jobs_that_end_early_alone() -> None:
    plans = [draw(seed, jobs=250, seconds=15, processes=PROCESSES) for seed in range(20)]
    long = [job for plan in plans for job in plan.jobs if job.tokens == LONG_TOKENS]
    assert {job.ttl is None for job in long} == {True, False}
    assert all(job.ttl or (job.request_id and job.cancel_after is not None) for job in long)
    assert len({job.question for job in long}) == len(long)


def test_half_of_the_blows_at_nats_servers_are_at_a_leader() -> None:
    servers = ("nats-1", "nats-2", "nats-3")
    leaders = tuple(map(str, Leader))
    plans = [
        draw(seed, jobs=1, seconds=15, processes=servers, leaders=leaders) for seed in range(50)
    ]
    struck = [
        fault.target in leaders
        for plan in plans
        for fault in plan.faults
        if fault.target not in set(Wire)
    ]
    assert 0.4 < sum(struck) / len(struck) < 0.6


def test_the_spared_are_frozen_and_never_killed() -> None:
    spared = PROCESSES[:2]
    plans = [
        draw(seed, jobs=1, seconds=15, processes=PROCESSES, spared=spared) for seed in range(20)
    ]
    struck = {(fault.target, fault.blow) for plan in plans for fault in plan.faults}
    assert {blow for target, blow in struck if target in spared} == {Blow.FREEZE}
    assert ("nats-1", Blow.KILL) in struck
