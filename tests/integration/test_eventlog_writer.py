"""The writer: one owner at a time, group commit, one seal."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.log_world import (
    RESULT_TTL,
    LogPeer,
    LogWorld,
    completed,
    text_of,
    words,
)
from tests.support.nats_server import NatsServer
from tidegate.contracts.events import (
    AttemptStarted,
    CacheMark,
    Cancelled,
    Delta,
    Failed,
    Usage,
    Waiting,
    event_type,
)
from tidegate.contracts.fold import fold
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.spending import LastAttempt
from tidegate.contracts.subjects import log_subject
from tidegate.eventlog.appender import FencedError
from tidegate.eventlog.head import read_head
from tidegate.eventlog.writer import LogWriter, OutputTooLongError


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


async def kept(peer: LogPeer, job: QueuedJob) -> int:
    """How many messages the job's log consists of."""
    info = await peer.jetstream.api(
        "STREAM.INFO.EVENTS", {"subjects_filter": log_subject(job.tenant, job.id)}
    )
    subjects = info["state"].get("subjects") or {}
    return sum(subjects.values())


async def endlessly(writer: LogWriter, delta: Delta) -> None:
    while True:
        writer.emit(delta)
        await asyncio.sleep(0)


async def begin(world: LogWorld, peer: LogPeer | None = None) -> tuple[QueuedJob, LogWriter]:
    job = await world.queue_job()
    return job, await (peer or world).start_attempt(job)


async def write_all(writer: LogWriter, count: int, *, prefix: str = "") -> str:
    """Emits deltas over several appends; returns their text."""
    deltas = words(count, prefix=prefix)
    for delta in deltas:
        writer.emit(delta)
        await asyncio.sleep(0)
    return "".join(delta.data for delta in deltas if isinstance(delta, Delta))


async def test_deltas_that_arrive_meanwhile_go_out_together(world: LogWorld) -> None:
    """Group commit: a fast model must not queue behind one round trip for each token."""
    job, writer = await begin(world)
    text = await write_all(writer, 300)
    await writer.seal(completed())
    events = await world.stored(job)
    assert [sequence for sequence, _ in events] == list(range(1, 303))
    assert text_of(events) == text
    assert len(await world.stored_lines(job)) < 300


async def test_an_owner_begins_its_next_attempt_after_all_that_the_failed_one_said(
    world: LogWorld,
) -> None:
    """Else a reader would show the failed call's last words in the next one's answer."""
    job, writer = await begin(world)
    text = await write_all(writer, 200)
    writer.emit(Waiting("PROVIDER_TIMEOUT", 1))
    await writer.start_attempt(AttemptStarted(2, "w-again"))
    again = await write_all(writer, 50, prefix="again ")
    await writer.seal(completed())
    lines = await world.stored_lines(job)
    starts = [
        len(line.events)
        for line in lines
        for raw in line.events
        if event_type(raw) == "attempt_started"
    ]
    assert starts == [1, 1]
    assert [line.attempt for line in lines] == sorted(line.attempt for line in lines)
    folded = fold(lines)
    assert (folded.attempt, folded.answer().text, folded.superseded) == (2, again, 0)
    assert text_of(await world.stored(job)) == text + again


async def test_an_owner_that_lost_the_log_begins_no_further_attempt(world: LogWorld) -> None:
    job, writer = await begin(world)
    newer = await (await world.peer()).start_attempt(job, worker="newer")
    with pytest.raises(FencedError):
        await writer.start_attempt(AttemptStarted(2, "w-again"))
    await newer.seal(completed())
    await writer.abandon()
    assert fold(await world.stored_lines(job)).attempt == 2


async def test_a_later_owner_is_told_what_the_one_before_it_heard(world: LogWorld) -> None:
    job, writer = await begin(world)
    await writer.start_attempt(
        AttemptStarted(2, "w-2", "p", "m", lost=Usage(5), lost_cost_nano_usd=7)
    )
    writer.emit(Delta("a"))
    await writer.hand_back()
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert (head.attempts, head.lost_attempts) == (2, 1)
    later = world.writer(job, head)
    await later.load()
    assert later.before == LastAttempt("p", "m", Usage(5), 7, heard=1)
    await later.abandon()


async def test_an_attempt_that_does_not_count_is_excused_from_its_beginning(
    world: LogWorld,
) -> None:
    """Whoever writes it may be killed at any moment, and can excuse nothing then."""
    job, writer = await begin(world)
    writer.emit(Delta("a"))
    hit = AttemptStarted(2, "w-2", cache=CacheMark("exact"))
    await writer.start_attempt(hit, counts=False)
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert (head.attempts, head.lost_attempts) == (2, 1)
    await writer.hand_back(counts=True)
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert (head.attempts, head.lost_attempts) == (2, 1)
    await writer.abandon()


async def test_who_is_quicker_than_the_store_can_wait_for_it(world: LogWorld) -> None:
    job, writer = await begin(world)
    await writer.caught_up()
    for _ in range(3):
        for delta in words(100):
            writer.emit(delta)
        await writer.caught_up()
        assert writer.stored_sequence == len(await world.stored(job))
    newer = await (await world.peer()).start_attempt(job, worker="newer")
    writer.emit(Delta("late"))
    with pytest.raises(FencedError):
        await writer.caught_up()
    await newer.abandon()
    await writer.abandon()


async def test_the_seal_replaces_the_log_and_lives_for_its_time(world: LogWorld) -> None:
    job, writer = await begin(world)
    text = await write_all(writer, 50)
    await writer.seal(completed())
    assert await kept(world, job) == 1
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert head.sealed
    assert not head.deleted
    assert head.line is not None
    assert head.line.job is not None
    assert head.line.job.request_hash == job.request_hash
    assert text_of(await world.stored(job)) == text
    message = await world.client.jetstream().get_last_msg("EVENTS", log_subject(job.tenant, job.id))
    assert (message.headers or {})["Nats-TTL"] == f"{RESULT_TTL}s"


async def test_a_second_attempt_fences_the_first(world: LogWorld) -> None:
    """A frozen worker that wakes up would mix its tokens into the new attempt's answer."""
    job, zombie = await begin(world)
    other = await world.peer()
    owner = await other.start_attempt(job, worker="w2")
    zombie.emit(Delta("late"))
    with pytest.raises(FencedError):
        await zombie.lost
    with pytest.raises(FencedError):
        zombie.emit(Delta("x"))
    with pytest.raises(FencedError):
        await zombie.seal(completed())
    owner.emit(Delta("mine"))
    await owner.seal(completed())
    events = await world.stored(job)
    assert text_of(events) == "mine"
    assert [sequence for sequence, _ in events] == [1, 2, 3, 4]
    await zombie.abandon()


async def test_of_many_attempts_at_once_one_has_the_log(world: LogWorld) -> None:
    job = await world.queue_job()
    head = await read_head(world.jetstream, job.tenant, job.id)
    peers = [await world.peer() for _ in range(8)]
    writers = [peer.writer(job, head) for peer in peers]
    started = await asyncio.gather(
        *(
            writer.start_attempt(AttemptStarted(1, f"w{number}"))
            for number, writer in enumerate(writers)
        ),
        return_exceptions=True,
    )
    winners = [writer for writer, result in zip(writers, started, strict=True) if result is None]
    assert len(winners) == 1
    assert sum(isinstance(result, FencedError) for result in started) == 7
    await winners[0].seal(completed())
    assert len(await world.stored(job)) == 2
    for writer in writers:
        await writer.abandon()


async def test_a_zombie_cannot_seal(world: LogWorld) -> None:
    """Its rollup would wipe out the newer attempt's log."""
    job, zombie = await begin(world)
    owner = await (await world.peer()).start_attempt(job)
    with pytest.raises(FencedError):
        await zombie.seal(completed("zombie"))
    await owner.seal(completed())
    assert len(await world.stored(job)) == 3
    await zombie.abandon()


async def test_a_new_attempt_seals_the_whole_log(world: LogWorld) -> None:
    """Readers that resume before the second attempt would find its beginning gone."""
    job, first = await begin(world)
    await write_all(first, 20)
    await first.abandon()
    before = await world.stored(job)
    second = await (await world.peer()).start_attempt(job)
    second.emit(Delta("again"))
    await second.seal(completed())
    events = await world.stored(job)
    assert events[: len(before)] == before
    assert [sequence for sequence, _ in events] == list(range(1, len(events) + 1))
    assert await kept(world, job) == 1


async def test_an_answer_that_cannot_be_sealed_is_stopped_before(world: LogWorld) -> None:
    """A log too large for one message could never be ended at all."""
    job, writer = await begin(world)
    with pytest.raises(OutputTooLongError):
        await endlessly(writer, Delta("é\x01" * 4000))
    await writer.seal(Failed("OUTPUT_TOO_LONG", "too long"))
    assert (await read_head(world.jetstream, job.tenant, job.id)).sealed
    assert len(text_of(await world.stored(job))) > 10_000


async def test_two_ends_at_once_leave_the_first(world: LogWorld) -> None:
    """A cancel that meets the last token must not give the job two terminal events."""
    job, writer = await begin(world)
    results = await asyncio.gather(
        writer.seal(completed()),
        writer.seal(Cancelled("CANCELLED_BY_CALLER", "x")),
        return_exceptions=True,
    )
    assert [result is None for result in results] == [True, False]
    with pytest.raises(RuntimeError):
        await writer.seal(Cancelled("CANCELLED_BY_CALLER", "x"))
    assert b'"type":"completed"' in (await world.stored(job))[-1][1]
    assert len(await world.stored(job)) == 2
    await writer.abandon()


async def test_a_writer_that_has_not_read_the_log_cannot_seal_it(world: LogWorld) -> None:
    """Its rollup would drop all events before it: the whole log would be unreadable."""
    job, first = await begin(world)
    await first.abandon()
    second = world.writer(job, await read_head(world.jetstream, job.tenant, job.id))
    with pytest.raises(RuntimeError):
        await second.seal(completed())
    with pytest.raises(RuntimeError):
        await second.start_attempt(AttemptStarted(2, "w"))
    await second.load()
    await second.seal(completed())
    assert len(await world.stored(job)) == 2


async def test_nothing_can_be_begun_on_a_sealed_log(world: LogWorld) -> None:
    """A worker that missed the seal would take a finished answer back."""
    job, writer = await begin(world)
    await writer.seal(completed())
    late = world.writer(job, await read_head(world.jetstream, job.tenant, job.id))
    await late.load()
    with pytest.raises(RuntimeError):
        await late.start_attempt(AttemptStarted(2, "w"))
    with pytest.raises(RuntimeError):
        await late.seal(completed())
    assert len(await world.stored(job)) == 2


async def test_falling_silent_can_be_repeated(world: LogWorld) -> None:
    """A drain that meets a failed attempt abandons it twice."""
    _, writer = await begin(world)
    await writer.abandon()
    await writer.abandon()


async def test_a_job_is_refused_while_one_of_its_id_is_queued(world: LogWorld) -> None:
    """Two jobs under one request id: the caller pays twice."""
    job = await world.queue_job()
    with pytest.raises(Exception, match=r"10071|10164"):
        await world.queue_job(job_id=job.id)
    assert (await world.queue_job("globex", job.id)).id == job.id
