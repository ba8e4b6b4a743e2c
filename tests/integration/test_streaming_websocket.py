"""The WebSocket: what each frame does, and what each close code means to a client."""

import asyncio
import time

from tests.support.log_world import LogWorld, completed, words
from tests.support.services import (
    TENANT,
    StreamingProcess,
    receive,
    send,
    stored_frames,
    subscribe,
    text_in,
    until_end,
    websocket,
)
from tidegate.contracts.events import CacheMark, Cancelled, Delta, Waiting
from tidegate.contracts.jobs import new_job_id
from tidegate.eventlog.head import LogHead
from tidegate.eventlog.lookup import require_job
from tidegate.eventlog.orphan import bury
from tidegate.eventlog.writer import LogLimits


async def test_a_client_sees_every_event_as_it_is_stored(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        await subscribe(socket, job)
        writer = await world.start_attempt(job)
        for event in words(50):
            writer.emit(event)
        writer.emit(Waiting("BREAKER_OPEN", 1))
        await writer.seal(completed())
        frames = await until_end(socket, job.id)
    assert frames == await stored_frames(world, job)
    assert text_in(frames) == "".join(word.data for word in words(50) if isinstance(word, Delta))


async def test_an_answer_that_restarted_is_told_so(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """Else a client would show the lost attempt's text before the new one's."""
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        await subscribe(socket, job)
        first = await world.start_attempt(job)
        first.emit(Delta("lost"))
        assert [(await receive(socket))["type"] for _ in range(2)] == ["attempt_started", "delta"]
        second = await world.start_attempt(job, worker="w2")
        second.emit(Delta("kept"))
        await second.seal(completed())
        frames = await until_end(socket, job.id)
        await first.abandon()
    assert frames == (await stored_frames(world, job))[2:]
    assert (frames[0]["attempt"], frames[0]["continues"]) == (2, False)


async def test_many_jobs_share_a_socket(world: LogWorld, streaming: StreamingProcess) -> None:
    jobs = [await world.queue_job(TENANT) for _ in range(20)]
    got: dict[str, list[dict[str, object]]] = {job.id: [] for job in jobs}
    async with websocket(streaming) as socket:
        for job in jobs:
            await subscribe(socket, job)
        writers = [await world.start_attempt(job) for job in jobs]
        for number in range(10):
            for writer in writers:
                writer.emit(Delta(f"{number} "))
            await asyncio.sleep(0)
        for writer in writers:
            await writer.seal(completed())
        left = len(jobs)
        while left:
            frame = await receive(socket)
            got[frame["job_id"]].append(frame)
            left -= frame["type"] == "completed"
    for job in jobs:
        assert got[job.id] == await stored_frames(world, job)


async def test_a_finished_job_is_replayed_from_any_sequence(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    for event in words(20):
        writer.emit(event)
    await writer.seal(completed())
    whole = await stored_frames(world, job)
    async with websocket(streaming) as socket:
        for after in (0, 1, 10, len(whole) - 1):
            await subscribe(socket, job, after)
            assert await until_end(socket, job.id) == whole[after:]


async def test_a_client_that_has_everything_is_told_so(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """Else it would wait for ever for an end that it has seen, or that it lost."""
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    await writer.seal(completed())
    async with websocket(streaming) as socket:
        for after in (2, 3, 1_000_000):
            await subscribe(socket, job, after)
            assert await receive(socket) == {"type": "ended", "job_id": job.id, "sequence": after}


async def test_a_client_that_is_ahead_gets_nothing_twice(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """A replica that is behind the one which the client left must not repeat events."""
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    async with websocket(streaming) as socket:
        await subscribe(socket, job, 3)
        await subscribed(streaming, 1)
        for event in words(5):
            writer.emit(event)
        await writer.seal(completed())
        frames = await until_end(socket, job.id)
    assert frames == await stored_frames(world, job, after=3)


async def test_a_late_joiner_can_have_the_text_so_far(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    for event in words(30):
        writer.emit(event)
    async with websocket(streaming) as early, websocket(streaming) as late:
        await subscribe(early, job)
        seen = [await receive(early) for _ in range(31)]
        await send(late, type="subscribe", job_id=job.id, snapshot=True)
        snapshot = await receive(late)
        assert snapshot == {
            "type": "snapshot",
            "job_id": job.id,
            "sequence": 31,
            "attempt": 1,
            "text": text_in(seen),
        }
        writer.emit(Delta("more"))
        await writer.seal(completed())
        rest = await until_end(late, job.id)
    assert rest == await stored_frames(world, job, after=31)


async def test_a_late_joiner_of_a_finished_job_gets_its_end_too(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    writer.emit(Delta("all of it", kind="text"))
    writer.emit(Delta("why", kind="reasoning"))
    await writer.seal(completed())
    async with websocket(streaming) as socket:
        await send(socket, type="subscribe", job_id=job.id, snapshot=True)
        snapshot, end = await receive(socket), await receive(socket)
    assert (snapshot["text"], snapshot["reasoning"]) == ("all of it", "why")
    assert (end["type"], end["sequence"]) == ("completed", snapshot["sequence"] + 1)


async def test_a_client_sees_where_an_answer_comes_from_live_and_late(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    mark = CacheMark("semantic", 0.953, 90_250, "job_a", "e1")
    told = {"tier": "semantic", "score": 0.953, "age_ms": 90_250, "source": "job_a", "entry": "e1"}
    async with websocket(streaming) as live, websocket(streaming) as late:
        await subscribe(live, job)
        writer = await world.start_attempt(job, cache=mark)
        assert (await receive(live))["cache"] == told
        await send(late, type="subscribe", job_id=job.id, snapshot=True)
        assert (await receive(late))["cache"] == told
        await writer.seal(completed())
        assert (await until_end(late, job.id))[-1]["saved_nano_usd"] == 0


async def test_an_unsubscribed_job_is_silent(world: LogWorld, streaming: StreamingProcess) -> None:
    quiet, loud = await world.queue_job(TENANT), await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        await subscribe(socket, quiet)
        writer = await world.start_attempt(quiet)
        assert (await receive(socket))["type"] == "attempt_started"
        await send(socket, type="unsubscribe", job_id=quiet.id)
        await subscribed(streaming, 0)
        writer.emit(Delta("not for you"))
        await writer.seal(completed())
        await subscribe(socket, loud)
        await (await world.start_attempt(loud)).seal(completed())
        frames = [await receive(socket), await receive(socket)]
    assert {frame["job_id"] for frame in frames} == {loud.id}


async def test_a_job_that_was_cancelled_in_the_queue_ends_the_stream(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        await subscribe(socket, job)
        await subscribed(streaming, 1)
        await world.writer(job, LogHead()).seal(Cancelled("CANCELLED_BY_CALLER", "by the caller"))
        frames = await until_end(socket, job.id)
    assert [frame["type"] for frame in frames] == ["cancelled"]


async def test_another_tenants_job_looks_like_none(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    foreign = await world.queue_job("acme")
    async with websocket(streaming) as socket:
        for job_id in (foreign.id, new_job_id()):
            await send(socket, type="subscribe", job_id=job_id)
            assert await receive(socket) == {
                "type": "error",
                "code": "JOB_NOT_FOUND",
                "message": "no such job",
                "job_id": job_id,
            }


async def test_an_id_that_is_none_never_reaches_a_subject(streaming: StreamingProcess) -> None:
    async with websocket(streaming) as socket:
        for job_id in ("", "x", "*", "job_>", "events.1.acme.x", "job_" + "A" * 26):
            await send(socket, type="subscribe", job_id=job_id)
            assert (await receive(socket))["code"] == "JOB_NOT_FOUND"


async def test_a_negative_sequence_is_refused(world: LogWorld, streaming: StreamingProcess) -> None:
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        await subscribe(socket, job, -1)
        error = await receive(socket)
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "after_sequence")


async def test_a_deleted_job_ends_the_stream_with_a_reason(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as socket:
        writer = await world.start_attempt(job)
        await writer.seal(completed())
        found = await require_job(world.jetstream, job.tenant, job.id)
        await bury(
            world.jetstream,
            found,
            limits=LogLimits(1_000_000, 60),
            metrics=world.metrics,
            clock=time.time,
        )
        await subscribe(socket, job)
        assert (await receive(socket))["code"] == "JOB_NOT_FOUND"


async def subscribed(streaming: StreamingProcess, number: int) -> None:
    """Wait until the process has so many subscriptions and none of them is being looked up."""
    while f"tidegate_websocket_subscriptions {float(number)}\n" not in await streaming.metrics():
        await asyncio.sleep(0.01)
