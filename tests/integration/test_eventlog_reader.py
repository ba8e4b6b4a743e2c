"""The reader: whoever follows, from wherever, gets exactly the log."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.log_client import Client, slowly, write
from tests.support.log_world import (
    LogWorld,
    completed,
    read_log,
    running,
    wait_until,
)
from tests.support.nats_server import NatsServer
from tidegate.contracts.errors import InternalError, NotFound
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob, new_job_id
from tidegate.contracts.subjects import log_subject
from tidegate.eventlog.lookup import find_job
from tidegate.eventlog.orphan import bury
from tidegate.eventlog.writer import LogLimits, LogWriter

LIMITS = LogLimits(1_000_000, 3600)


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


def has_stored(writer: LogWriter, sequence: int) -> bool:
    return writer.stored_sequence >= sequence


async def follow_all(world: LogWorld, jobs: list[QueuedJob], readers: int) -> list[list[Client]]:
    made = [(await world.peer()).reader() for _ in range(readers)]
    return [[Client(reader, job) for reader in made] for job in jobs]


async def test_live_late_and_resumed_readers_get_the_same(world: LogWorld) -> None:
    """A client that reconnects elsewhere must not see a token twice, nor miss one."""
    job = await world.queue_job()
    live = (await world.peer()).reader()
    first = Client(live, job)
    writer = await world.start_attempt(job)
    await slowly(writer, 20)
    late = Client((await world.peer()).reader(), job)
    await slowly(writer, 20, prefix="b")
    resumed = Client(live, job, after=17)
    await slowly(writer, 20, prefix="c")
    await writer.seal(completed())
    stored = await world.stored(job)
    assert len(stored) == 62
    assert await first.task == stored
    assert await late.task == stored
    assert await resumed.task == stored[17:]


async def test_a_reader_may_resume_at_every_sequence(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    await slowly(writer, 12)
    running_log = Client(world.reader(), job)
    await running_log.has(13)
    other = (await world.peer()).reader()
    clients = [Client(other, job, after) for after in range(14)]
    write(writer, 5, prefix="b")
    await writer.seal(completed())
    stored = await world.stored(job)
    for after, client in enumerate(clients):
        assert await client.task == stored[after:]
    fresh = (await world.peer()).reader()
    for after in range(len(stored) + 1):
        assert await read_log(fresh, job, after) == stored[after:]


async def test_what_one_client_reads_is_not_read_again_for_the_next(world: LogWorld) -> None:
    """A popular job's thousand readers must cost one replay, not a thousand."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    await slowly(writer, 30)
    peer = await world.peer()
    reader = peer.reader()
    clients = [Client(reader, job) for _ in range(50)]
    await asyncio.gather(*(client.has(31) for client in clients))
    await writer.seal(completed())
    stored = await world.stored(job)
    assert all([await client.task == stored for client in clients])
    assert peer.metrics.repairs.labels("first")._value.get() == 1


async def test_a_new_attempt_is_followed_without_a_seam(world: LogWorld) -> None:
    job = await world.queue_job()
    client = Client((await world.peer()).reader(), job)
    first = await world.start_attempt(job)
    await slowly(first, 10)
    await first.abandon()
    second = await (await world.peer()).start_attempt(job)
    await slowly(second, 10)
    await second.seal(completed())
    assert await client.task == await world.stored(job)


async def test_a_long_log_is_replayed_whole(world: LogWorld) -> None:
    """More appends than one batch of a replay holds."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    for number in range(620):
        writer.emit(Delta(f"{number} "))
        await wait_until(partial(has_stored, writer, number + 2))
    late = Client((await world.peer()).reader(), job)
    await late.has(620)
    await writer.seal(completed())
    assert await late.task == await world.stored(job)


async def test_a_stranger_is_told_that_there_is_no_such_job(world: LogWorld) -> None:
    """Whether another tenant has a job is nobody's business."""
    job = await world.queue_job()
    reader = world.reader()
    writer = await world.start_attempt(job)
    await writer.seal(completed())
    for tenant, job_id in [
        ("globex", job.id),
        ("acme", new_job_id()),
        ("acme", "job_*"),
        ("acme", ">"),
        ("acme", ""),
    ]:
        with pytest.raises(NotFound):
            await reader.follow(tenant, job_id, lambda: None)


async def test_a_queued_job_can_be_followed_before_it_runs(world: LogWorld) -> None:
    job = await world.queue_job()
    client = Client((await world.peer()).reader(), job)
    await asyncio.sleep(0.05)
    assert not client.task.done()
    writer = await world.start_attempt(job)
    await writer.seal(completed())
    assert await client.task == await world.stored(job)


async def test_a_deleted_job_is_gone_for_late_and_for_present_readers(world: LogWorld) -> None:
    """Deleted means that its text can be had nowhere, not even from a reader's memory."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    write(writer, 3)
    await writer.seal(completed())
    peer = await world.peer()
    reader = peer.reader()
    assert await read_log(reader, job)
    found = await find_job(world.jetstream, job.tenant, job.id)
    assert found is not None
    await bury(world.jetstream, found, limits=LIMITS, metrics=world.metrics, clock=lambda: 0.0)
    await peer.client.flush()
    with pytest.raises(NotFound):
        await read_log((await world.peer()).reader(), job)
    with pytest.raises(NotFound):
        await read_log(reader, job)


async def test_a_log_that_is_damaged_is_an_error_and_no_text(world: LogWorld) -> None:
    """A reader must say so to its clients, and go on serving the others."""
    damaged, sound = await world.queue_job(), await world.queue_job()
    writer = await world.start_attempt(sound)
    await world.jetstream.publish(log_subject(damaged.tenant, damaged.id), b"{nonsense", {})
    reader = (await world.peer()).reader()
    client = Client(reader, sound)
    for _ in range(2):
        with pytest.raises(InternalError):
            await read_log(reader, damaged)
    await writer.seal(completed())
    assert await client.task == await world.stored(sound)


async def test_damage_in_mid_log_reaches_those_who_follow(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    client = Client((await world.peer()).reader(), job)
    await client.has(1)
    await world.jetstream.publish(log_subject(job.tenant, job.id), b'{"hole":1}', {})
    with pytest.raises(InternalError):
        await client.task
    await writer.abandon()


async def test_what_nobody_reads_is_forgotten_and_its_shard_left(world: LogWorld) -> None:
    """A streaming process lives for weeks and sees millions of jobs."""
    peer = await world.peer()
    before = len(peer.client._subs)
    async with running(peer.reader(keep_unread=0.0, verify_after=0.1)) as reader:
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        await writer.seal(completed())
        assert await read_log(reader, job)
        await wait_until(lambda: len(peer.client._subs) == before)
        assert peer.metrics.tails._value.get() == 0
        assert await read_log(reader, job) == await world.stored(job)


async def test_many_jobs_with_two_readers_each_are_all_exact(world: LogWorld) -> None:
    """50 jobs of 40 events, written at once, followed from two processes."""
    jobs = [await world.queue_job() for _ in range(50)]
    clients = await follow_all(world, jobs, 2)

    async def run(number: int, job: QueuedJob) -> None:
        writer = await world.start_attempt(job, worker=f"w{number}")
        await slowly(writer, 38, prefix=f"{number}.")
        await writer.seal(completed())

    await asyncio.gather(*(run(number, job) for number, job in enumerate(jobs)))
    for job, pair in zip(jobs, clients, strict=True):
        stored = await world.stored(job)
        assert len(stored) == 40
        for client in pair:
            assert await client.task == stored
