"""Resuming: whatever breaks, a client that goes on from its last sequence has the exact log."""

import asyncio
import random
import socket as sockets
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from tests.support.log_world import LogWorld, completed, wait_until, words
from tests.support.nats_server import NatsServer
from tests.support.services import (
    TENANT,
    Frame,
    MakeStreaming,
    StreamingProcess,
    close_of,
    is_last,
    receive,
    stored_frames,
    subscribe,
    until_end,
    websocket,
)
from tidegate.contracts.events import TERMINAL_TYPES, Delta
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.writer import LogWriter


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """As `tidegate up` bundles it: with room for long answers."""
    async with NatsServer(tmp_path, config="max_payload: 8MB") as server:
        yield server


@pytest.fixture
async def streaming(make_streaming: MakeStreaming) -> StreamingProcess:
    return await make_streaming(websocket_buffer_bytes=256 * 1024)


class Client:
    """Reads one job for as long as it takes, over as many sockets as it takes."""

    def __init__(self, job: QueuedJob) -> None:
        self.job = job
        self.frames: list[Frame] = []
        self.sockets = 0

    def has(self, number: int) -> bool:
        """Whether so many events are here."""
        return len(self.frames) >= number

    async def run(self, replica: Callable[[], StreamingProcess], *, patience: int = 0) -> None:
        """Until the terminal event. `patience`: cut the socket after up to so many frames."""
        while not (self.frames and self.frames[-1]["type"] in TERMINAL_TYPES):
            try:
                async with websocket(replica(), open_timeout=2) as socket:
                    self.sockets += 1
                    await subscribe(socket, self.job, len(self.frames))
                    await self._read(socket, random.randint(0, patience) if patience else None)
            except (WebSocketException, OSError, TimeoutError):
                await asyncio.sleep(0.02)

    async def _read(self, socket: ClientConnection, most: int | None) -> None:
        while most is None or most > 0:
            frame = await receive(socket)
            if frame["type"] == "error":
                return
            assert frame["sequence"] == len(self.frames) + 1
            self.frames.append(frame)
            if is_last(frame):
                return
            most = None if most is None else most - 1
        socket.transport.abort()


async def write(writer: LogWriter, count: int, *, pause: float = 0.002) -> None:
    """A worker's stream of words, at a pace."""
    for event in words(count):
        writer.emit(event)
        await asyncio.sleep(pause)
    await writer.seal(completed())


async def finish(writer: LogWriter) -> None:
    """The end of the answer."""
    await writer.seal(completed())


async def test_a_socket_cut_at_random_moments_costs_nothing(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    clients = [Client(job) for _ in range(8)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(lambda: streaming, patience=60))
        group.create_task(write(await world.start_attempt(job), 400))
    expected = await stored_frames(world, job)
    assert all(client.frames == expected for client in clients)
    assert all(client.sockets > 1 for client in clients)


async def test_a_hundred_clients_of_one_job_all_see_it_exactly(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    clients = [Client(job) for _ in range(100)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(lambda: streaming))
        group.create_task(write(await world.start_attempt(job), 200))
    expected = await stored_frames(world, job)
    assert all(client.frames == expected for client in clients)


async def test_a_slow_client_is_cut_alone_and_resumes(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """It must cost neither the others their pace nor the process its memory."""
    job = await world.queue_job(TENANT)
    quick = Client(job)
    writer = await world.start_attempt(job)
    piece = "x" * 20_000
    async with websocket(streaming, max_queue=1, sock=narrow(streaming)) as slow:
        await subscribe(slow, job)
        first = [await receive(slow)]
        async with asyncio.TaskGroup() as group:
            group.create_task(quick.run(lambda: streaming))
            for number in range(2, 102):
                writer.emit(Delta(piece))
                await wait_until(partial(quick.has, number))
            group.create_task(finish(writer))
        # The others are through; only now does it read on, and finds how it was cut.
        code, reason = await close_of_reader(slow, first)
        assert (code, "resume" in reason) == (1013, True)
        assert 1 < len(first) < 101
    expected = await stored_frames(world, job)
    assert quick.frames == expected
    async with websocket(streaming) as again:
        await subscribe(again, job, len(first))
        first += await until_end(again, job.id)
    assert first == expected


async def test_a_long_replay_is_not_taken_for_a_slow_client(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """Six megabytes for a client with a narrow line: fed as it reads, beside another's events."""
    long, short = await world.queue_job(TENANT), await world.queue_job(TENANT)
    writer = await world.start_attempt(long)
    for number in range(30):
        writer.emit(Delta(f"{number} " + "y" * 20_000))
    await write(writer, 200, pause=0)
    async with websocket(streaming, max_queue=1, sock=narrow(streaming)) as slow:
        await subscribe(slow, long)
        frames: list[Frame] = []
        async with websocket(streaming) as other:
            await subscribe(other, short)
            await (await world.start_attempt(short)).seal(completed())
            assert (await until_end(other, short.id))[-1]["type"] == "completed"
        while not (frames and is_last(frames[-1])):
            frames.append(await receive(slow))
            await asyncio.sleep(0.001)
    assert frames == await stored_frames(world, long)


async def test_a_client_that_stops_reading_a_replay_is_cut_in_the_end(
    world: LogWorld, make_streaming: MakeStreaming
) -> None:
    """Else who opens sockets and reads nothing would hold the logs in memory for ever."""
    job = await world.queue_job(TENANT)
    writer = await world.start_attempt(job)
    for number in range(100):
        writer.emit(Delta(str(number) + "y" * 20_000))
    streaming = await make_streaming(stream_stall_seconds=1)
    async with websocket(streaming, max_queue=1, sock=narrow(streaming)) as stuck:
        await subscribe(stuck, job)
        while 'closes_total{code="1013"} 1.0' not in await streaming.metrics():
            await asyncio.sleep(0.05)
        assert (await close_of(stuck))[0] == 1013
    await writer.abandon()


async def test_a_killed_nats_server_delays_and_loses_nothing(
    world: LogWorld, streaming: StreamingProcess, nats_server: NatsServer
) -> None:
    job = await world.queue_job(TENANT)
    clients = [Client(job) for _ in range(5)]
    writer = await world.start_attempt(job)

    async def kill() -> None:
        while len(clients[0].frames) < 50:
            await asyncio.sleep(0.005)
        await nats_server.kill()
        await asyncio.sleep(0.3)
        await nats_server.start()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(lambda: streaming))
        group.create_task(write(writer, 300))
        group.create_task(kill())
    expected = await stored_frames(world, job)
    assert all(client.frames == expected for client in clients)
    # Its sockets outlived the outage: nobody had to reconnect.
    assert all(client.sockets == 1 for client in clients)


async def test_a_killed_streaming_process_is_replaced_by_another(
    world: LogWorld, streaming: StreamingProcess, make_streaming: MakeStreaming
) -> None:
    job = await world.queue_job(TENANT)
    clients = [Client(job) for _ in range(5)]
    writer = await world.start_attempt(job)
    other = await make_streaming()
    replicas = [streaming]

    async def kill() -> None:
        while len(clients[0].frames) < 50:
            await asyncio.sleep(0.005)
        replicas[:] = [other]
        await streaming.kill()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(lambda: replicas[0]))
        group.create_task(write(writer, 300))
        group.create_task(kill())
    expected = await stored_frames(world, job)
    assert all(client.frames == expected for client in clients)
    assert all(client.sockets > 1 for client in clients)


def narrow(streaming: StreamingProcess) -> sockets.socket:
    """A client's socket whose kernel takes little more than what is read."""
    narrow = sockets.socket()
    narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", streaming.websocket_port))
    narrow.setblocking(False)
    return narrow


async def close_of_reader(socket: ClientConnection, frames: list[Frame]) -> tuple[int, str]:
    """Read on to the end, keeping the frames; the close code and its reason."""
    try:
        while True:
            frames.append(await receive(socket))
    except WebSocketException:
        return socket.close_code or 0, socket.close_reason or ""
