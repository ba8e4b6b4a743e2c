"""A provider that fails for a while: the caller gets one whole answer, and a true bill."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.nats_server import NatsServer
from tests.support.worker_world import (
    WorkerWorld,
    attempts_of,
    terminal_of,
    text_of_last_attempt,
    waits_of,
)
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Completed, Expired, Failed, Usage
from tidegate.contracts.jobs import JobClass
from tidegate.providers.breaker import BreakerPolicy

# What the worlds' priced models cost, in nano-dollars for a token.
INPUT, OUTPUT = 1_000, 2_000
INPUT_TOKENS = 10


@pytest.mark.parametrize(
    ("fault", "came"),
    [
        ({"fail": 500}, 0),
        ({"fail": 429, "retry_after": 0.1}, 0),
        ({"cut_after": 5}, 5),
        ({"error_after": 5}, 5),
        ({"stall_after": 5, "stall_s": 60}, 5),
    ],
)
async def test_a_call_that_fails_is_made_again(
    fault: dict[str, Any], came: int, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(**fault, calls=1)
        job = await world.submit(tokens=20, model="priced")
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Completed)
        assert text_of_last_attempt(events) == world.answer(20)
        assert [(each.attempt, each.continues) for each in attempts_of(events)] == [
            (1, False),
            (2, False),
        ]
        assert (end.usage, end.cost_nano_usd) == (
            Usage(INPUT_TOKENS, 0, 20),
            INPUT_TOKENS * INPUT + 20 * OUTPUT,
        )
        assert end.lost.output_tokens == came
        assert end.lost_cost_nano_usd == end.lost.input_tokens * INPUT + came * OUTPUT
        assert end.lost.estimated is (came > 0)
        assert (end.lost.input_tokens > 0) is (came > 0)
        assert attempts_of(events)[1].lost == end.lost
        assert attempts_of(events)[1].lost_cost_nano_usd == end.lost_cost_nano_usd
        assert end.price_version
        stats = await world.stats(job=job.id)
        assert [call["request_id"] for call in stats["calls"]] == [f"{job.id}-1", f"{job.id}-2"]
        await world.until_queue_empty()
        assert await world.dead_letters() == []


async def test_an_outage_uses_none_of_a_batch_jobs_attempts_up(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """With targets that refuse at once, it would be over in seconds, minutes before its time."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(max_attempts=1)
        await world.fault(fail=503, calls=4)
        job = await world.submit(tokens=20, job_class=JobClass.BATCH)
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Completed)
        assert len(attempts_of(events)) == 5


async def test_a_batch_job_that_breaks_its_provider_comes_to_an_end(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It may be the job's own fault, and every try of it counts against others' breaker."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(max_attempts=2)
        await world.fault(fail=500)
        job = await world.submit(tokens=20, job_class=JobClass.BATCH)
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Failed)
        assert len(attempts_of(events)) == 2


async def test_where_one_provider_fails_the_next_answers(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """At once: another provider need not be spared."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(fail=500)
        job = await world.submit(tokens=20, model="two-homes")
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Completed)
        assert [each.provider for each in attempts_of(events)] == ["simulator", "backup"]
        assert waits_of(events) == []
        assert text_of_last_attempt(events) == world.answer(20)


@pytest.mark.parametrize("job_class", list(JobClass))
async def test_a_callers_own_mistake_is_not_sent_again(
    job_class: JobClass, nats_server: NatsServer, tmp_path: Path
) -> None:
    """No other try could end better, and every one costs somebody."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(fail=400)
        job = await world.submit(model="two-homes", job_class=job_class)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert (end.reason, end.retriable) == (Reason.PROVIDER_REFUSED, False)
        assert (end.usage, end.lost) == (Usage(), Usage())
        assert (await world.stats())["started"] == 1
        assert (await world.backup.stats())["started"] == 0
        await world.until_queue_empty()
        assert await world.dead_letters() == []


async def test_a_job_fails_after_the_last_of_its_attempts(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(max_attempts=3)
        await world.fault(cut_after=5)
        job = await world.submit(tokens=20, model="priced")
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert (end.reason, end.retriable) == (Reason.PROVIDER_STREAM_CUT, True)
        assert [each.attempt for each in attempts_of(events)] == [1, 2, 3]
        assert (end.usage.output_tokens, end.lost.output_tokens) == (5, 10)
        assert end.lost_cost_nano_usd == 2 * (end.cost_nano_usd or 0) > 0
        assert (await world.stats())["started"] == 3


async def test_a_wait_is_said_and_ends_with_a_cancel(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Not when it is over: nobody waits for the answer any more."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(fail=429, retry_after=60)
        job = await world.submit(tokens=20, job_class=JobClass.BATCH)
        await world.until_waiting(job)
        await world.record_cancel(job.id)
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Cancelled)
        assert {each.reason for each in waits_of(events)} <= {
            Reason.PROVIDER_RATE_LIMITED,
            Reason.CIRCUIT_OPEN,
        }
        assert (await world.stats())["started"] == 1
        await world.until_queue_empty()


async def test_a_wait_ends_with_the_jobs_time(nats_server: NatsServer, tmp_path: Path) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(fail=500)
        job = await world.submit(tokens=20, job_class=JobClass.BATCH, ttl_seconds=2)
        end = terminal_of(await world.until_end(job))
        # It may see that no further call can be in time.
        assert isinstance(end, Expired | Failed)
        await world.until_queue_empty()


async def test_a_drain_ends_a_wait_and_the_failed_call_still_counts(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Else a job that fails everywhere would be tried for as long as workers are replaced."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        shy = BreakerPolicy(consecutive=1, open=60.0)
        worker = await world.start_worker(breaking=shy, drain_seconds=2)
        await world.fault(fail=500, calls=1)
        job = await world.submit(tokens=20, job_class=JobClass.BATCH)
        await world.until_waiting(job)
        await worker.stop()
        head = await world.head(job)
        assert (head.attempts, head.lost_attempts) == (1, 1)
        await world.forget_breakers()
        await world.start_worker()
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Completed)
        assert [each.attempt for each in attempts_of(events)] == [1, 2]


async def test_a_price_that_is_not_known_stays_unknown(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A zero would be summed up as if the call were free."""
    async with WorkerWorld(nats_server, tmp_path) as world, world.process() as worker:
        await world.fault(cut_after=5, calls=1)
        end = terminal_of(await world.until_end(await world.submit(tokens=20)))
        assert isinstance(end, Completed)
        assert end.usage == Usage(INPUT_TOKENS, 0, 20)
        assert (end.cost_nano_usd, end.lost_cost_nano_usd) == (None, None)
        await world.until_queue_empty()
        while "tidegate_worker_cost_unknown_total{" not in (text := await worker.metrics()):
            await asyncio.sleep(0.01)
        labels = 'model="sim-small",provider="simulator"'
        assert f"tidegate_worker_cost_unknown_total{{{labels}}} 1.0" in text
        assert f"tidegate_worker_cost_nano_usd_total{{{labels}}} 0.0" in text
        assert 'tidegate_worker_attempts_total{why="PROVIDER_STREAM_CUT"} 1.0' in text


async def test_what_a_killed_workers_attempt_used_is_booked_as_lost(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        world.process() as first,
    ):
        await world.fault(cut_after=2, calls=1)
        job = await world.submit(tokens=40, model="priced")
        await world.until_deltas(job, 5)
        await first.kill()
        await world.start_worker()
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Completed)
        assert text_of_last_attempt(events) == world.answer(40)
        attempts = attempts_of(events)
        assert [each.attempt for each in attempts] == [1, 2, 3]
        deltas = sum(b'"delta"' in raw for _, raw in events)
        assert end.lost == attempts[2].lost
        assert end.lost.output_tokens == deltas - 40
        assert end.lost.estimated
        assert end.lost.input_tokens == 2 * attempts[1].lost.input_tokens > 0
        assert end.lost_cost_nano_usd == (
            end.lost.input_tokens * INPUT + end.lost.output_tokens * OUTPUT
        )
