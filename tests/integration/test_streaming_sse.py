"""Server-sent events: what a browser or curl sees of a job, and when it is told to stay away."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.support.log_world import LogWorld, completed, wait_until, words
from tests.support.nats_server import NatsServer
from tests.support.services import (
    AUTHORIZATION,
    TENANT,
    Frame,
    MakeStreaming,
    SseReader,
    StreamingProcess,
    sse,
    stored_frames,
)
from tidegate.contracts.events import CacheMark, Delta
from tidegate.contracts.jobs import new_job_id


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path, config="max_payload: 8MB") as server:
        yield server


@pytest.fixture
async def streaming(make_streaming: MakeStreaming) -> StreamingProcess:
    return await make_streaming(
        sse_heartbeat_seconds=0.2, sse_max_streams=50, stream_stall_seconds=1
    )


async def test_a_job_is_streamed_as_it_is_stored_and_then_ends(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    async with sse(streaming, job.id) as reader:
        writer = await world.start_attempt(job, cache=CacheMark("exact", age_ms=5))
        for event in words(50):
            writer.emit(event)
        await writer.seal(completed())
        frames = await reader.read()
    assert frames == await stored_frames(world, job)
    assert frames[0]["cache"]["tier"] == "exact"
    headers = reader.response.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Cache-Control"] == "no-store"
    # Unnamed events, and no block but those with data: what strict clients can read.
    assert not [line for line in reader.lines if line.startswith((b"event:", b"retry:"))]


async def test_a_queued_jobs_stream_beats(world: LogWorld, streaming: StreamingProcess) -> None:
    """Else a proxy would cut it before the job begins; and a beat must not end an event."""
    job = await world.queue_job(TENANT)
    async with sse(streaming, job.id) as reader:
        await reader.read(lambda seen: len(seen.lines) == 4)
        assert reader.lines == [b": hb\n"] * 4
        await (await world.start_attempt(job)).seal(completed())
        assert await reader.read() == await stored_frames(world, job)
    after_beats = [line for line in reader.lines if line != b": hb\n"]
    assert after_beats[0] == b"id: 1\n"


async def test_a_silent_stream_beats_though_its_log_is_looked_at_more_often(
    world: LogWorld, make_streaming: MakeStreaming
) -> None:
    """A reader verifies a silent log every 5 s; each look once put the beat off, for ever."""
    streaming = await make_streaming(sse_heartbeat_seconds=7)
    job = await world.queue_job(TENANT)
    async with sse(streaming, job.id) as reader:
        await reader.read(lambda seen: len(seen.lines) == 2)
        assert reader.lines == [b": hb\n"] * 2


@pytest.mark.parametrize(
    ("headers", "query", "after"),
    [
        ({}, "?after_sequence=3", 3),
        ({"Last-Event-ID": "5"}, "", 5),
        ({"Last-Event-ID": "5"}, "?after_sequence=3", 5),
        ({"Last-Event-ID": "3"}, "?after_sequence=5", 3),
        ({"Last-Event-ID": ""}, "?after_sequence=5", 5),
    ],
)
async def test_a_stream_goes_on_from_where_the_client_is(
    world: LogWorld, streaming: StreamingProcess, headers: dict[str, str], query: str, after: int
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    for event in words(10):
        writer.emit(event)
    await writer.seal(completed())
    async with sse(streaming, job.id, headers, query) as reader:
        assert await reader.read() == await stored_frames(world, job, after)


async def test_only_a_job_that_has_ended_with_nothing_left_is_204(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """204 keeps a browser from connecting again, which before the end would lose the rest."""
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    async with sse(streaming, job.id, query="?after_sequence=9") as reader:
        assert reader.response.status == 200
        await writer.seal(completed())
        assert await reader.read() == []
    for after in ("2", "9"):
        async with sse(streaming, job.id, {"Last-Event-ID": after}) as reader:
            assert reader.response.status == 204
    async with sse(streaming, job.id, {"Last-Event-ID": "1"}) as reader:
        assert reader.response.status == 200
        assert [frame["sequence"] for frame in await reader.read()] == [2]


@pytest.mark.parametrize(
    ("headers", "query", "refusal"),
    [
        ({}, "?after_sequence=-1", (400, "invalid_request")),
        ({}, "?after_sequence=", (400, "invalid_request")),
        ({}, "?after_sequence=1&after_sequence=2", (400, "invalid_request")),
        ({}, "?after_sequence=99999999999999999999", (400, "invalid_request")),
        ({"Last-Event-ID": "-1"}, "", (400, "invalid_request")),
        ({"Last-Event-ID": "seven"}, "", (400, "invalid_request")),
        ({"Last-Event-ID": "\u00b2"}, "", (400, "invalid_request")),
        ({}, "?colour=blue", (400, "unsupported_field")),
        ({}, "?token=tg_abc", (400, "invalid_request")),
        ({"Authorization": "Bearer wrong"}, "", (401, "unauthenticated")),
    ],
)
async def test_what_cannot_be_served_is_refused_in_words(
    world: LogWorld,
    streaming: StreamingProcess,
    headers: dict[str, str],
    query: str,
    refusal: tuple[int, str],
) -> None:
    job = await world.queue_job(TENANT)
    async with sse(streaming, job.id, headers, query) as reader:
        error = (await reader.response.json())["error"]
        assert (reader.response.status, error["code"]) == refusal


async def test_another_tenants_job_looks_like_none(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    foreign = await world.queue_job("acme")
    for job_id in (foreign.id, new_job_id(), "none"):
        async with sse(streaming, job_id) as reader:
            assert reader.response.status == 404
            assert (await reader.response.json())["error"]["code"] == "job_not_found"


async def test_a_stream_cut_at_random_moments_costs_nothing(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    frames: list[Frame] = []

    async def write() -> None:
        writer = await world.start_attempt(job)
        for event in words(300):
            writer.emit(event)
            await asyncio.sleep(0.002)
        await writer.seal(completed())

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        while not (frames and frames[-1]["type"] == "completed"):
            async with sse(streaming, job.id, {"Last-Event-ID": str(len(frames))}) as reader:
                frames += await reader.read(lambda seen: len(seen.frames) >= 23)
    assert frames == await stored_frames(world, job)


async def test_a_hundred_events_at_once_reach_fifty_streams(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """And the fifty-first is told to come back later."""
    job = await world.queue_job(TENANT)

    async def read() -> list[Frame]:
        async with sse(streaming, job.id) as reader:
            ready.append(reader)
            return await reader.read()

    ready: list[SseReader] = []
    async with asyncio.TaskGroup() as group:
        readers = [group.create_task(read()) for _ in range(50)]
        await wait_until(lambda: len(ready) == 50)
        async with sse(streaming, job.id) as reader:
            assert reader.response.status == 429
            assert reader.response.headers["Retry-After"] == "1"
        writer = await world.start_attempt(job)
        for event in words(100):
            writer.emit(event)
        await writer.seal(completed())
    expected = await stored_frames(world, job)
    assert all(task.result() == expected for task in readers)


async def test_a_client_that_does_not_read_is_cut_and_resumes(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    with sockets.socket() as stuck:
        stuck.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", streaming.sse_port))
        stuck.sendall(
            f"GET /v1/jobs/{job.id}/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {AUTHORIZATION['Authorization']}\r\n\r\n".encode()
        )
        for number in range(100):
            writer.emit(Delta(str(number) + "z" * 20_000))
        await writer.seal(completed())
        while "tidegate_sse_cut_total 1.0" not in await streaming.metrics():
            await asyncio.sleep(0.05)
        stuck.settimeout(10)
        taken = await asyncio.to_thread(read_until_cut, stuck)
    frames = [
        msgspec.json.decode(line[6:])
        for line in taken.split(b"\n")
        if line.startswith(b"data: ") and line.endswith(b"}")
    ]
    assert len(frames) < 102
    async with sse(streaming, job.id, {"Last-Event-ID": str(len(frames))}) as reader:
        frames += await reader.read()
    assert frames == await stored_frames(world, job)


async def test_other_methods_and_paths_are_errors_of_ours(streaming: StreamingProcess) -> None:
    base = f"http://127.0.0.1:{streaming.sse_port}"
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session:
        async with session.get(f"{base}/v1/nothing") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (
                404,
                "route_not_found",
            )
        async with session.post(streaming.sse_url(new_job_id())) as answer:
            assert answer.status == 405
        async with session.head(streaming.sse_url(new_job_id())) as answer:
            assert answer.status == 405


def read_until_cut(stuck: sockets.socket) -> bytes:
    """What still arrives before the connection is reset."""
    taken = b""
    try:
        while data := stuck.recv(65536):
            taken += data
    except ConnectionResetError:
        pass
    return taken
