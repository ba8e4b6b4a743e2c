"""What a job ends as when its provider fails, its caller cancels, or its time is over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.log_world import text_of
from tests.support.nats_server import NatsServer
from tests.support.worker_world import (
    WorkerWorld,
    attempts_in,
    terminal_of,
    text_of_last_attempt,
)
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Completed, Expired, Failed, Usage
from tidegate.contracts.jobs import new_job_id
from tidegate.contracts.subjects import JOBS_STREAM, job_subject


@pytest.mark.parametrize(
    ("fault", "reason", "retriable"),
    [
        ({"fail": 429}, Reason.PROVIDER_RATE_LIMITED, True),
        ({"fail": 500}, Reason.PROVIDER_UNAVAILABLE, True),
        ({"fail": 401}, Reason.PROVIDER_CREDENTIALS, False),
        ({"fail": 404}, Reason.PROVIDER_MISCONFIGURED, False),
        ({"cut_after": 5}, Reason.PROVIDER_STREAM_CUT, True),
        ({"end_after": 5}, Reason.PROVIDER_STREAM_CUT, True),
        ({"error_after": 5}, Reason.PROVIDER_UNAVAILABLE, True),
        ({"stall_after": 5, "stall_s": 60}, Reason.PROVIDER_TIMEOUT, True),
    ],
)
async def test_a_provider_that_fails_ends_the_job_with_what_there_is(
    fault: dict[str, Any], reason: Reason, retriable: bool, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(max_attempts=1)
        await world.fault(**fault)
        job = await world.submit(tokens=20)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert (end.reason, end.retriable) == (reason, retriable)
        assert "tide" not in end.message
        came = 0 if "fail" in fault else 5
        assert (end.usage.output_tokens, end.usage.estimated) == (came, came > 0)
        assert end.lost == Usage()
        assert world.answer(20).startswith(text_of_last_attempt(events))
        await world.until_queue_empty()
        # None of this was the caller's fault: it may be replayed.
        assert [letter.reason for letter in await world.dead_letters()] == [reason]


async def test_a_cancel_before_any_worker_never_reaches_the_model(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit()
        await world.record_cancel(job.id)
        await world.start_worker()
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Cancelled)
        assert attempts_in(events) == 0
        assert (await world.stats())["started"] == 0
        await world.until_queue_empty()


async def test_a_cancel_of_an_earlier_job_of_the_same_id_is_not_this_ones(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        job_id = new_job_id()
        await world.record_cancel(job_id)
        job = await world.submit(job_id=job_id)
        await world.start_worker()
        assert isinstance(terminal_of(await world.until_end(job)), Completed)


@pytest.mark.parametrize("tokens_before", [0, 5])
async def test_a_cancel_ends_the_call_and_keeps_what_was_said(
    tokens_before: int, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Before the first token too: the provider must not go on at the caller's cost."""
    ttft = 0.02 if tokens_before else 60
    async with WorkerWorld(nats_server, tmp_path, ttft_seconds=ttft) as world:
        await world.start_worker()
        job = await world.submit(tokens=100_000)
        await world.calls_running(1)
        await world.until_deltas(job, tokens_before)
        await world.record_cancel(job.id)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Cancelled)
        assert end.reason == Reason.CANCELLED_BY_CALLER
        assert end.usage.output_tokens >= tokens_before
        assert end.usage.output_tokens == sum(b'"delta"' in raw for _, raw in events)
        stats = await world.stats(idle_within="5")
        assert (stats["aborted"], stats["running"]) == (1, 0)
        await world.until_queue_empty()


async def test_a_deadline_before_any_worker_never_reaches_the_model(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit(ttl_seconds=0.001)
        await world.start_worker()
        assert isinstance(terminal_of(await world.until_end(job)), Expired)
        assert (await world.stats())["started"] == 0
        await world.until_queue_empty()


@pytest.mark.parametrize("ttft", [0.02, 60])
async def test_a_deadline_ends_the_call_and_keeps_what_was_said(
    ttft: float, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path, ttft_seconds=ttft) as world:
        await world.start_worker()
        job = await world.submit(tokens=100_000, ttl_seconds=1)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Expired)
        assert end.reason == Reason.DEADLINE_EXCEEDED
        assert (end.usage.output_tokens > 0) == (ttft < 1)
        assert (await world.stats(idle_within="5"))["aborted"] == 1
        await world.until_queue_empty()


async def test_a_job_whose_model_is_gone_fails(nats_server: NatsServer, tmp_path: Path) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        job = await world.submit(model="retired")
        end = terminal_of(await world.until_end(job))
        assert isinstance(end, Failed)
        assert end.reason == Reason.MODEL_NOT_FOUND


async def test_a_job_that_lost_all_its_attempts_fails(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """One that takes every worker down with it must not go round for ever."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit()
        for _ in range(3):
            await (await world.start_attempt(job)).abandon()
        await world.start_worker(max_attempts=3)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert end.reason == Reason.ATTEMPTS_EXHAUSTED
        assert attempts_in(events) == 3
        assert (await world.stats())["started"] == 0


async def test_an_answer_that_outgrows_the_log_is_ended_with_its_text(tmp_path: Path) -> None:
    config = "max_payload: 131072"
    async with (
        NatsServer(tmp_path, config=config) as nats,
        WorkerWorld(nats, tmp_path, tokens_per_second=20_000) as world,
    ):
        await world.start_worker()
        events = await world.until_end(await world.submit(tokens=20_000))
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert end.reason == Reason.OUTPUT_TOO_LONG
        assert text_of(events)
        assert world.answer(20_000).startswith(text_of(events))
        assert (await world.stats(idle_within="5"))["running"] == 0


@pytest.mark.parametrize(
    "payload", [b"", b"not a job", b'{"id": "x"}', b'{"v":' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
async def test_a_job_that_cannot_be_read_ends_and_the_next_one_runs(
    payload: bytes, nats_server: NatsServer, tmp_path: Path
) -> None:
    """It was accepted: whoever waits for it must be told that there will be no answer."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit(payload=payload)
        await world.start_worker()
        await world.until_queue_empty()
        end = terminal_of(await world.until_end(job))
        assert isinstance(end, Failed)
        assert (end.reason, end.retriable) == (Reason.JOB_UNREADABLE, False)
        assert isinstance(terminal_of(await world.until_end(await world.submit())), Completed)


async def test_a_job_of_a_newer_release_is_left_for_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """While a platform is updated, an old worker must not throw a new gateway's jobs away."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job_id = new_job_id()
        subject = job_subject("default", "interactive", "acme", job_id)
        await world.put(subject, b'{"v": 99, "id": 7}')
        await world.start_worker()
        assert isinstance(terminal_of(await world.until_end(await world.submit())), Completed)
        while await world.waiting() > 1:
            await asyncio.sleep(0.01)
        assert await world.jetstream.last(JOBS_STREAM, subject) is not None


async def test_a_finished_job_that_comes_again_is_only_taken_from_the_queue(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its worker died between the last event and the acknowledgement."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit()
        writer = await world.start_attempt(job)
        await writer.seal(Failed(Reason.INTERNAL, "x"))
        await writer.abandon()
        before = await world.stored(job)
        await world.start_worker()
        await world.until_queue_empty()
        assert await world.stored(job) == before
        assert (await world.stats())["started"] == 0


async def test_the_trace_goes_on_through_the_worker(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Without it nobody could tell which request a slow call belonged to."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        job = await world.submit(traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
        events = await world.until_end(job)
        assert trace_id.encode() in events[0][1]
        assert b'"attempt_started"' in events[0][1]
        calls = (await world.stats(job=job.id))["calls"]
        assert [call["request_id"] for call in calls] == [f"{job.id}-1"]
