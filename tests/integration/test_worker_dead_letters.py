"""Dead letters: what failed for good can be looked at and replayed, whenever its worker dies."""

from pathlib import Path

import pytest

from tests.support.nats_server import NatsServer
from tests.support.worker_world import WorkerWorld, terminal_of
from tidegate.contracts.dead_letter import DeadLetter
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Failed
from tidegate.contracts.subjects import DLQ_STREAM
from tidegate.eventlog.dead_letters import write_dead_letter


async def test_a_job_that_failed_for_good_leaves_its_letter(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(max_attempts=2)
        await world.fault(fail=500)
        job = await world.submit()
        end = terminal_of(await world.until_end(job))
        assert isinstance(end, Failed)
        await world.until_queue_empty()
        (letter,) = await world.dead_letters()
        assert letter.job == job
        assert (letter.reason, letter.message) == (end.reason, end.message)
        assert (letter.retriable, letter.attempts) == (True, 2)
        assert letter.created_ms <= letter.failed_ms


@pytest.mark.parametrize("status", [400, 422])
async def test_what_can_never_succeed_leaves_none(
    status: int, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await world.fault(fail=status)
        job = await world.submit()
        assert isinstance(terminal_of(await world.until_end(job)), Failed)
        await world.until_queue_empty()
        assert await world.dead_letters() == []


async def test_an_ended_job_leaves_none_unless_it_failed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        done, late = await world.submit(), await world.submit(ttl_seconds=0.001)
        cancelled = await world.submit()
        await world.record_cancel(cancelled.id)
        await world.start_worker()
        for job in (done, late, cancelled):
            assert not isinstance(terminal_of(await world.until_end(job)), Failed)
        await world.until_queue_empty()
        assert await world.dead_letters() == []


async def test_a_worker_that_died_before_the_letter_is_made_good_for(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its log is sealed, and its message still there."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit()
        created_ms = await world.seal(job, Failed(Reason.PROVIDER_TIMEOUT, "x", retriable=True))
        assert await world.dead_letters() == []
        await world.start_worker()
        await world.until_queue_empty()
        (letter,) = await world.dead_letters()
        assert (letter.job, letter.reason) == (job, Reason.PROVIDER_TIMEOUT)
        assert letter.created_ms == created_ms
        assert (await world.stats())["started"] == 0


async def test_a_letter_that_is_written_again_stays_one(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its worker died before the acknowledgement, so that the job comes again."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        job = await world.submit()
        letter = DeadLetter(job, Reason.PROVIDER_TIMEOUT, "x", True, 0, 1, 2)
        await write_dead_letter(world.jetstream, letter)
        await world.seal(job, Failed(Reason.PROVIDER_TIMEOUT, "x", retriable=True))
        await world.start_worker()
        await world.until_queue_empty()
        assert len(await world.dead_letters()) == 1


async def test_without_a_place_for_letters_the_job_stays_in_the_queue(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Until there is one: what is only in a log that expires tomorrow would be lost."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        stream = (await world.jetstream.api(f"STREAM.INFO.{DLQ_STREAM}"))["config"]
        await world.jetstream.api(f"STREAM.DELETE.{DLQ_STREAM}")
        await world.fault(fail=401)
        await world.start_worker()
        job = await world.submit()
        assert isinstance(terminal_of(await world.until_end(job)), Failed)
        assert await world.waiting() == 1
        await world.jetstream.api(f"STREAM.CREATE.{DLQ_STREAM}", stream)
        await world.until_queue_empty()
        assert [letter.job.id for letter in await world.dead_letters()] == [job.id]
