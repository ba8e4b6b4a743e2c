"""What one streaming process carries: messages per second, CPU per event, memory per idle socket.

    python -m bench.fanout --jobs 10 --clients 100 --rate 100      # many readers of few jobs
    python -m bench.fanout --jobs 1000 --clients 1 --rate 10       # a reader for each job
    python -m bench.fanout --idle 2000                             # memory only

A real NATS server, the streaming process pinned to the first core, everything else (the writers of
the logs, the clients) beside it on the others. A client is a bare socket that counts frames: what
is measured is the server. CPU comes from the process itself (/metrics), so that it holds on a
machine whose other cores are busy; capacity is a core divided by it.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench._machine import describe
from tests.support.log_world import LogWorld, completed
from tests.support.nats_server import NatsServer
from tests.support.services import TENANT, StreamingProcess
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.writer import LogWriter

HANDSHAKE = (
    "GET /v1/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: tidegate.v1\r\nAuthorization: Bearer tidegate-dev\r\n\r\n"
)
TOKEN = Delta(" token")


@dataclass(frozen=True)
class Load:
    jobs: int
    clients: int
    rate: float
    group: int
    seconds: float
    idle: int


class Client(asyncio.Protocol):
    """Subscribes to one job, counts event frames and their lateness; parses nothing else."""

    def __init__(self, job_id: str | None) -> None:
        self.frames = 0
        self.late: list[float] = []
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._job_id = job_id

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(HANDSHAKE.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            assert data.startswith(b"HTTP/1.1 101"), data[:200]
            self.open.set_result(None)
            if self._job_id is not None:
                self._transport.write(masked(self._job_id))  # type: ignore[attr-defined]
        count = data.count(b'"type":"delta"')
        if count:
            self.frames += count
            at = data.rfind(b'"at_ms":') + 8
            self.late.append(time.time() * 1000 - int(data[at : data.index(b",", at)]))
        if b'"type":"completed"' in data and not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def masked(job_id: str) -> bytes:
    """A subscribe frame; the mask is zero."""
    body = b'{"type":"subscribe","job_id":"%b"}' % job_id.encode()
    assert len(body) < 126
    return bytes((0x81, 0x80 | len(body), 0, 0, 0, 0)) + body


def _same(client: Client) -> Client:
    return client


async def connect(streaming: StreamingProcess, job_ids: list[str | None]) -> list[Client]:
    loop, clients = asyncio.get_running_loop(), []
    for job_id in job_ids:
        client = Client(job_id)
        await loop.create_connection(partial(_same, client), "127.0.0.1", streaming.websocket_port)
        await client.open
        clients.append(client)
    return clients


async def value(streaming: StreamingProcess, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", await streaming.metrics(), re.MULTILINE)
    return float(found.group(1)) if found else float("nan")


async def write(writers: list[LogWriter], load: Load) -> None:
    """Each log gets `group` events every `group / rate` seconds, the logs spread over that time."""
    tick = load.group / load.rate
    begun = time.monotonic()
    for turn in range(int(load.seconds / tick)):
        for number, writer in enumerate(writers):
            due = begun + (turn + number / len(writers)) * tick
            if (wait := due - time.monotonic()) > 0.001:
                await asyncio.sleep(wait)
            for _ in range(load.group):
                writer.emit(TOKEN)
        await asyncio.sleep(0)
    await asyncio.gather(*(writer.seal(completed()) for writer in writers))


async def begin(world: LogWorld, load: Load) -> tuple[list[QueuedJob], list[LogWriter]]:
    jobs = [await world.queue_job(TENANT) for _ in range(load.jobs)]
    return jobs, [await world.start_attempt(job) for job in jobs]


async def measure_fanout(world: LogWorld, streaming: StreamingProcess, load: Load) -> None:
    jobs, writers = await begin(world, load)
    clients = await connect(streaming, [job.id for job in jobs for _ in range(load.clients)])
    cpu, began = await value(streaming, "process_cpu_seconds_total"), time.monotonic()
    await write(writers, load)
    await asyncio.gather(*(client.ended for client in clients))
    seconds = time.monotonic() - began
    cpu = await value(streaming, "process_cpu_seconds_total") - cpu
    frames = sum(client.frames for client in clients)
    expected = int(load.seconds / (load.group / load.rate)) * load.group * len(clients)
    late = sorted(sample for client in clients for sample in client.late)
    print(f"messages                   {frames:,} of {expected:,} in {seconds:.1f} s")
    print(f"messages per second        {frames / seconds:,.0f} at {cpu / seconds:.0%} of a core")
    print(f"CPU per message            {cpu / frames * 1e6:.2f} us")
    print(f"capacity of a core         {frames / cpu:,.0f} messages/s")
    print(f"CPU per event of a log     {cpu / frames * load.clients * 1e6:.1f} us")
    print(
        "written to read, ms        "
        + " / ".join(f"{late[int(len(late) * q)]:.1f}" for q in (0.5, 0.95, 0.99))
        + "  (p50 / p95 / p99, whole milliseconds, writers and clients included)"
    )


async def measure_idle(streaming: StreamingProcess, number: int) -> None:
    before = await value(streaming, "process_resident_memory_bytes")
    clients = await connect(streaming, [None] * number)
    after = await value(streaming, "process_resident_memory_bytes")
    print(f"idle sockets               {len(clients)}, {await value(streaming, SOCKETS):.0f} open")
    print(f"memory per idle socket     {(after - before) / number / 1024:.1f} KiB")


SOCKETS = "tidegate_websocket_sockets"


async def run(load: Load) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            NatsServer(Path(folder), config="max_payload: 8MB") as nats,
            LogWorld(nats.url) as world,
            StreamingProcess(
                nats.url, Path(folder), websocket_hello_seconds=600, log_level="warning"
            ) as streaming,
        ):
            pin(streaming.pid)
            if load.idle:
                await measure_idle(streaming, load.idle)
            else:
                await measure_fanout(world, streaming, load)


def pin(pid: int) -> None:
    """The process under test on the first core, the rest on the others, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, cores[:1])
        os.sched_setaffinity(0, cores[1:] or cores)


def parse() -> Load:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--clients", type=int, default=100, help="readers of each job")
    parser.add_argument("--rate", type=float, default=100.0, help="events per second of each job")
    parser.add_argument("--group", type=int, default=1, help="events written together")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--idle", type=int, default=0, help="only open so many idle sockets")
    return Load(**vars(parser.parse_args()))


def main() -> None:
    load = parse()
    print(describe())
    print(f"load                       {load}")
    uvloop.run(run(load))


if __name__ == "__main__":
    main()
