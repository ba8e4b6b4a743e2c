"""The end of a process: clients are sent to another one in time, and lose nothing."""

import asyncio
import contextlib
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.log_world import LogWorld, completed, wait_until, words
from tests.support.nats_server import NatsServer
from tests.support.services import (
    TENANT,
    Frame,
    MakeStreaming,
    ServiceProcess,
    StreamingProcess,
    close_of,
    receive,
    sse,
    stored_frames,
    subscribe,
    until_end,
    websocket,
)


@pytest.fixture
async def streaming(make_streaming: MakeStreaming) -> StreamingProcess:
    return await make_streaming(stream_drain_spread_seconds=0.5, drain_seconds=10)


async def test_a_drain_sends_every_client_away_to_resume(
    world: LogWorld, streaming: StreamingProcess, make_streaming: MakeStreaming
) -> None:
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    for event in words(20):
        writer.emit(event)
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(websocket(streaming)) for _ in range(20)]
        reader = await stack.enter_async_context(sse(streaming, job.id))
        for socket in sockets:
            await subscribe(socket, job)
        seen = [[await receive(socket) for _ in range(21)] for socket in sockets]
        streaming.signal(signal.SIGTERM)
        closes = await asyncio.gather(*(close_of(socket) for socket in sockets))
        assert {code for code, _ in closes} == {1012}
        assert all("resume" in reason for _, reason in closes)
        # The stream ends without a terminal event: a browser then connects again by itself.
        half = await reader.read()
        assert len(half) == 21
        assert await streaming.wait() == 0
    async with websocket(await make_streaming()) as socket:
        await subscribe(socket, job, len(seen[0]))
        await writer.seal(completed())
        assert seen[0] + await until_end(socket, job.id) == await stored_frames(world, job)


async def test_a_draining_process_lets_nobody_in_and_says_so(
    world: LogWorld, make_streaming: MakeStreaming
) -> None:
    job = await world.queue_job(TENANT)
    streaming = await make_streaming(drain_notice_seconds=1, drain_seconds=5)
    async with websocket(streaming) as socket:
        await subscribe(socket, job)
        streaming.signal(signal.SIGTERM)
        while (await streaming.readiness())["ready"]:
            await asyncio.sleep(0.01)
        assert (await streaming.readiness())["failing"] == {"lifecycle": "draining"}
        # Load balancers have not noticed yet: a socket goes on until the notice is over.
        writer = await world.start_attempt(job)
        assert (await receive(socket))["type"] == "attempt_started"
        assert (await close_of(socket))[0] == 1012
    with pytest.raises((OSError, aiohttp.ClientError)):
        async with websocket(streaming):
            pass
    assert await streaming.wait() == 0
    await writer.abandon()


async def test_a_client_that_reads_nothing_does_not_hold_the_drain(
    world: LogWorld, make_streaming: MakeStreaming
) -> None:
    job = await world.queue_job(TENANT)
    streaming = await make_streaming(stream_drain_spread_seconds=0.1, drain_seconds=3)
    async with websocket(streaming, max_queue=1, close_timeout=0.1) as socket:
        await subscribe(socket, job)
        writer = await world.start_attempt(job)
        await receive(socket)
        socket.transport.pause_reading()
        streaming.signal(signal.SIGTERM)
        assert await streaming.wait() == 0
    await writer.abandon()


async def test_it_is_not_ready_before_the_streams_are_there(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Else clients would be told that their jobs do not exist."""
    streaming = StreamingProcess(nats_server.url, tmp_path)
    await streaming.launch()
    try:
        body = await first_answer(streaming)
        assert not body["ready"]
        while body["failing"].get("streams") != "waiting for the gateway to make the streams":
            await asyncio.sleep(0.02)
            body = await streaming.readiness()
        async with LogWorld(nats_server.url):
            await streaming.until_ready()
    finally:
        await streaming.kill()


async def test_settings_that_let_nobody_in_are_told_at_the_start(tmp_path: Path) -> None:
    streaming = StreamingProcess("nats://127.0.0.1:9", tmp_path, development="false")
    await streaming.launch()
    assert await streaming.wait() == 2
    assert "TIDEGATE_KEYS_FILE" in streaming.log.read_text(encoding="utf-8")


async def first_answer(service: ServiceProcess) -> Frame:
    """What readiness says as soon as it is served."""
    found: list[Frame] = []

    async def ask() -> None:
        while not found:
            with contextlib.suppress(aiohttp.ClientError):
                found.append(await service.readiness())
            await asyncio.sleep(0.02)

    await asyncio.gather(ask(), wait_for(found))
    return found[0]


async def wait_for(found: list[Frame]) -> None:
    await wait_until(lambda: found)
