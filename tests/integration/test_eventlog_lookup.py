"""Finding a job wherever it is, and ending one that has no owner."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.log_world import (
    LogPeer,
    LogWorld,
    completed,
    connected,
    read_log,
    text_of,
    words,
)
from tests.support.nats_frames import MessageFilter
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.jetstream import NoAnswerError
from tidegate.contracts.errors import NotFound, Unavailable
from tidegate.contracts.events import AttemptStarted, Cancelled, Delta, Expired, JobState
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.subjects import EVENTS_STREAM, JOBS_STREAM, job_anywhere, log_subject
from tidegate.eventlog.appender import FencedError
from tidegate.eventlog.head import read_head
from tidegate.eventlog.lookup import FoundJob, find_job, require_job, view_job
from tidegate.eventlog.orphan import bury, reap, take_from_queue
from tidegate.eventlog.writer import LogLimits

LIMITS = LogLimits(1_000_000, 3600)
EXPIRED = Expired("DEADLINE_EXCEEDED", "too late")


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


async def found(peer: LogPeer, job: QueuedJob) -> FoundJob:
    return await require_job(peer.jetstream, job.tenant, job.id)


async def end(peer: LogPeer, at: FoundJob, reason: str = "") -> None:
    """Reaps what was found."""
    event = Expired(reason, "x") if reason else EXPIRED
    await reap(peer.jetstream, at, event, limits=LIMITS, metrics=peer.metrics, clock=time.time)


async def queued(peer: LogPeer, job: QueuedJob) -> bool:
    return await peer.jetstream.last(JOBS_STREAM, job_anywhere(job.tenant, job.id)) is not None


async def test_a_job_is_found_at_every_stage_of_its_way(world: LogWorld) -> None:
    """A caller who polls must never be told that an accepted job does not exist."""
    job = await world.queue_job()
    at = await found(world, job)
    assert (at.queued, at.head.attempts) == (job, 0)
    assert (await view_job(world.jetstream, at)).state is JobState.QUEUED

    writer = await world.start_attempt(job)
    writer.emit(Delta("half"))
    await writer.abandon()
    writer = await world.start_attempt(job)
    at = await found(world, job)
    assert at.head.attempts == 2
    assert (await view_job(world.jetstream, at)).state is JobState.RUNNING

    writer.emit(Delta("whole"))
    await writer.seal(completed())
    sealed = await found(world, job)
    assert sealed.head.sealed
    assert sealed.queued == job

    await take_from_queue(world.jetstream, sealed.queue_sequence)
    at = await found(world, job)
    assert at.queued is None
    assert at.summary.request_hash == job.request_hash
    view = await view_job(world.jetstream, at)
    assert view.state is JobState.COMPLETED
    assert view.answer is not None
    assert view.answer.text == "whole"
    assert (await view_job(world.jetstream, at, with_answer=False)).answer is None

    await bury(world.jetstream, at, limits=LIMITS, metrics=world.metrics, clock=time.time)
    with pytest.raises(NotFound):
        await found(world, job)
    buried = await find_job(world.jetstream, job.tenant, job.id)
    assert buried is not None
    assert buried.head.deleted
    assert buried.summary.request_hash == job.request_hash


async def test_the_times_of_a_job_are_the_same_at_every_stage(world: LogWorld) -> None:
    """Sorting and paging by creation time would skip or repeat jobs that finish meanwhile."""
    job = await world.queue_job()
    at = await found(world, job)
    writer = world.writer(job, at.head, created_ms=at.summary.created_ms)
    await writer.start_attempt(AttemptStarted(1, "w"))
    await writer.seal(completed())
    await take_from_queue(world.jetstream, at.queue_sequence)
    assert (await found(world, job)).summary == at.summary


async def test_a_job_is_never_missed_while_it_moves(world: LogWorld) -> None:
    job = await world.queue_job()
    looking = await world.peer()
    done = asyncio.Event()

    async def look() -> int:
        looks = 0
        while not done.is_set():
            assert await find_job(looking.jetstream, job.tenant, job.id) is not None
            looks += 1
        return looks

    watch = [asyncio.create_task(look()) for _ in range(4)]
    writer = await world.start_attempt(job)
    for delta in words(20):
        writer.emit(delta)
        await asyncio.sleep(0.001)
    await writer.seal(completed())
    await take_from_queue(world.jetstream, (await found(world, job)).queue_sequence)
    done.set()
    assert all(await asyncio.gather(*watch))


@pytest.mark.parametrize("job_id", ["", "*", "job_*", "job_" + "a" * 26])
async def test_there_is_no_job_by_another_id(world: LogWorld, job_id: str) -> None:
    await world.queue_job()
    assert await find_job(world.jetstream, "acme", job_id) is None


async def test_another_tenant_finds_nothing(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    await writer.seal(completed())
    with pytest.raises(NotFound):
        await require_job(world.jetstream, "globex", job.id)


async def test_an_outage_is_not_taken_for_absence(nats_server: NatsServer) -> None:
    """A client that is told NOT_FOUND creates the job again and pays twice."""
    async with TcpProxy(nats_server.port) as proxy, LogWorld(nats_server.url) as world:
        job = await world.queue_job()
        peer = await world.peer(port=proxy.port, timeout=0.1)
        at = await found(world, job)
        proxy.hold(Way.UP)
        with pytest.raises(Unavailable):
            await found(peer, job)
        with pytest.raises(NoAnswerError):
            await take_from_queue(peer.jetstream, at.queue_sequence)
        assert await queued(world, job)


async def test_a_replay_that_lost_a_part_is_not_taken_for_the_log(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """A connection renewed in mid-replay: the answer would lack words, or the log seem damaged."""
    replies = iter([False, True, *[False] * 50])
    frames = MessageFilter(lambda subject: subject.startswith("_INBOX.") and next(replies))
    async with TcpProxy(
        nats_server.port, filters=lambda way: frames if way is Way.DOWN else None
    ) as proxy:
        job = await world.queue_job()
        for _ in range(4):
            await (await world.start_attempt(job)).abandon()
        peer = await world.peer(port=proxy.port)
        log = log_subject(job.tenant, job.id)
        with pytest.raises(NoAnswerError, match="hole"):
            await peer.jetstream.direct_batch(EVENTS_STREAM, log, 1)
        assert frames.lost == 1
        assert len((await peer.jetstream.direct_batch(EVENTS_STREAM, log, 1)).messages) == 4


async def test_the_reaper_ends_a_job_that_no_worker_ever_took(world: LogWorld) -> None:
    """With no worker at all, callers still hear that their time is over."""
    job = await world.queue_job()
    await end(world, await found(world, job))
    assert not await queued(world, job)
    view = await view_job(world.jetstream, await found(world, job))
    assert view.state is JobState.EXPIRED
    assert (view.attempts, view.last_sequence) == (0, 1)
    assert len(await read_log((await world.peer()).reader(), job)) == 1


async def test_the_reaper_keeps_what_a_dead_attempt_had_said(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    writer.emit(Delta("last words"))
    await asyncio.sleep(0)
    while writer.stored_sequence < 2:
        await asyncio.sleep(0)
    await writer.abandon()
    await end(world, await found(world, job))
    events = await world.stored(job)
    assert text_of(events) == "last words"
    assert [sequence for sequence, _ in events] == [1, 2, 3]


async def test_an_attempt_that_began_meanwhile_wins_over_the_reaper(world: LogWorld) -> None:
    job = await world.queue_job()
    at = await found(world, job)
    writer = await (await world.peer()).start_attempt(job)
    with pytest.raises(FencedError):
        await end(world, at)
    assert await queued(world, job)
    await writer.seal(completed())
    assert len(await world.stored(job)) == 2


async def test_an_attempt_that_loses_to_the_reaper_falls_silent(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await (await world.peer()).start_attempt(job)
    await end(world, await found(world, job))
    writer.emit(Delta("too late"))
    with pytest.raises(FencedError):
        await writer.seal(completed())
    view = await view_job(world.jetstream, await found(world, job))
    assert view.state is JobState.EXPIRED
    assert text_of(await world.stored(job)) == ""
    await writer.abandon()


@pytest.mark.parametrize("round_number", range(5))
async def test_the_reaper_and_a_live_attempt_at_once_leave_one_end(
    world: LogWorld, round_number: int
) -> None:
    job = await world.queue_job()
    reaper = await world.peer()
    writer = await world.start_attempt(job)
    at = await found(reaper, job)

    async def live() -> None:
        for delta in words(round_number):
            writer.emit(delta)
            await asyncio.sleep(0)
        await writer.seal(completed())

    results = await asyncio.gather(live(), end(reaper, at), return_exceptions=True)
    assert [result is None for result in results].count(True) == 1
    # The reaper that finds the log sealed while it reads it has to look again.
    loser = next(result for result in results if result is not None)
    assert isinstance(loser, FencedError | NoAnswerError)
    events = await world.stored(job)
    ends = [raw for _, raw in events if b'"type":"completed"' in raw or b'"type":"expired"' in raw]
    assert ends == [events[-1][1]]
    assert [sequence for sequence, _ in events] == list(range(1, len(events) + 1))
    await writer.abandon()


async def test_two_reapers_at_once_leave_one_end(world: LogWorld) -> None:
    """Every gateway reaps."""
    job = await world.queue_job()
    peers = [await world.peer() for _ in range(6)]
    seen = [await found(peer, job) for peer in peers]
    results = await asyncio.gather(
        *(end(peer, at, f"R{n}") for n, (peer, at) in enumerate(zip(peers, seen, strict=True))),
        return_exceptions=True,
    )
    assert results.count(None) == 1
    assert len(await world.stored(job)) == 1
    assert not await queued(world, job)


async def test_a_reaper_that_died_after_its_seal_is_finished_by_the_next(world: LogWorld) -> None:
    """The message would stay for ever and block its request id."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    await writer.seal(completed())
    assert await queued(world, job)
    at = await found(world, job)
    await end(world, at)
    assert not await queued(world, job)
    await end(world, at)
    await end(world, await found(world, job))
    assert (await view_job(world.jetstream, await found(world, job))).state is JobState.COMPLETED


async def test_a_cancelled_queued_job_never_reaches_the_model(world: LogWorld) -> None:
    job = await world.queue_job()
    at = await found(world, job)
    cancel = Cancelled("CANCELLED_BY_CALLER", "by you")
    await reap(world.jetstream, at, cancel, limits=LIMITS, metrics=world.metrics, clock=time.time)
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert head.sealed
    assert not await queued(world, job)


async def test_only_a_finished_job_can_be_buried_and_twice_is_once(world: LogWorld) -> None:
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    running = await found(world, job)
    with pytest.raises(ValueError, match="sealed"):
        await bury(world.jetstream, running, limits=LIMITS, metrics=world.metrics, clock=time.time)
    await writer.seal(completed())
    at = await found(world, job)
    for _ in range(2):
        await bury(world.jetstream, at, limits=LIMITS, metrics=world.metrics, clock=time.time)
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert head.deleted
    assert b"delta" not in head.payload


async def test_a_result_is_gone_after_its_time(nats_server: NatsServer) -> None:
    """The time to live is the server's: nothing has to sweep."""
    async with connected(nats_server.url), LogWorld(nats_server.url) as world:
        job = await world.queue_job()
        at = await found(world, job)
        limits = LogLimits(1_000_000, 1)
        await reap(
            world.jetstream, at, EXPIRED, limits=limits, metrics=world.metrics, clock=time.time
        )
        while await find_job(world.jetstream, job.tenant, job.id) is not None:
            await asyncio.sleep(0.1)
        assert (await world.queue_job(job_id=job.id)).id == job.id
