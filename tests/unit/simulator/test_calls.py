"""Tests assert on this account: a call that is counted twice or never makes them lie."""

import asyncio

import pytest

from tidegate.simulator.calls import CallLog, CallRecord, Lateness, Outcome


def record(number: int, **fields: str) -> CallRecord:
    return CallRecord(id=str(number), endpoint="chat", started=1.0, **fields)  # type: ignore[arg-type]


@pytest.fixture
async def log() -> CallLog:
    return CallLog(3, clock=lambda: 2.0)


async def test_a_call_ends_once(log: CallLog) -> None:
    call = record(1)
    log.begin(call)
    log.end(call, Outcome.FAILED, "cut")
    log.end(call, Outcome.ABORTED)
    assert (call.outcome, call.kind, call.ended) == (Outcome.FAILED, "cut", 2.0)
    assert log.outcomes == {("chat", Outcome.FAILED): 1}
    assert log.failures == {"cut": 1}
    assert log.running == 0


async def test_the_most_calls_at_once_are_remembered(log: CallLog) -> None:
    calls = [record(number) for number in range(5)]
    for call in calls:
        log.begin(call)
    for call in calls:
        log.end(call, Outcome.COMPLETED)
    assert (log.running, log.most_running) == (0, 5)


async def test_the_ring_forgets_the_oldest_and_finds_by_request_and_job(log: CallLog) -> None:
    log.begin(record(1, request_id="a"))
    log.begin(record(2, request_id="a", job="j"))
    log.begin(record(3, request_id="b", job="j"))
    log.begin(record(4))
    assert [call.id for call in log.calls()] == ["2", "3", "4"]
    assert [call.id for call in log.calls(request_id="a")] == ["2"]
    assert [call.id for call in log.calls(job="j")] == ["2", "3"]


async def test_waiting_for_idle_ends_with_the_last_call(log: CallLog) -> None:
    first, second = record(1), record(2)
    log.begin(first)
    log.begin(second)
    waiting = asyncio.create_task(log.wait_idle())
    log.end(first, Outcome.COMPLETED)
    await asyncio.sleep(0)
    assert not waiting.done()
    log.end(second, Outcome.ABORTED)
    await waiting


async def test_a_reset_keeps_what_runs(log: CallLog) -> None:
    call = record(1)
    log.begin(call)
    log.sent(call, 0.0)
    log.reset()
    assert (log.running, log.most_running, log.tokens_sent) == (1, 1, 0)
    log.end(call, Outcome.COMPLETED)
    assert log.running == 0


def test_percentiles_of_lateness() -> None:
    late = Lateness()
    assert late.percentile(0.5) == 0.0
    for milliseconds in range(100):
        late.observe(milliseconds / 1000)
    assert late.percentile(0.5) == pytest.approx(0.04925)
    assert late.percentile(0.99) == pytest.approx(0.09825)
    assert late.cumulative([0.001, 0.05]) == [1, 50, 100]


def test_even_minutes_of_lateness_are_counted() -> None:
    late = Lateness()
    late.observe(600.0)
    assert late.cumulative([0.25]) == [0, 1]
    assert late.percentile(0.5) > 0.25
