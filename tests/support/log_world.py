"""A NATS server with Tidegate's streams, and jobs, writers and readers on it.

    async with LogWorld(nats.url) as world:
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        writer.emit(Delta("hello"))
        await writer.seal(completed())
        assert await read_log(await world.reader(), job) == await world.stored(job)

Each `LogPeer` is one process of the platform: a connection of its own, which may lead through a
proxy, with the options that the chassis uses.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
from prometheus_client import CollectorRegistry

from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.nats_client import NatsClient
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    Completed,
    Delta,
    Timings,
    Usage,
    Waiting,
    decode_event,
)
from tidegate.contracts.jobs import JobClass, QueuedJob, encode_job, hash_request, new_job_id
from tidegate.contracts.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    job_anywhere,
)
from tidegate.eventlog.head import LogHead, read_head, read_lines
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader, ReaderOptions
from tidegate.eventlog.streams import StreamOptions, apply_streams
from tidegate.eventlog.tail import Entry
from tidegate.eventlog.writer import LogLimits, LogWriter

Events = list[tuple[int, bytes]]
REQUEST = b'{"messages":[{"content":"hi","role":"user"}],"model":"sim-1"}'
RESULT_TTL = 3600


def completed(reason: str = "stop") -> Completed:
    """A terminal event like any other."""
    return Completed([reason], Usage(1, 0, 2), Timings(1, 2, 3), 4)


class LogPeer:
    """One process of the platform on its own connection."""

    def __init__(self, client: NatsClient, jetstream: JetStream) -> None:
        self.client = client
        self.jetstream = jetstream
        self.metrics = EventLogMetrics(CollectorRegistry())
        self.reconnects = 0
        self.on_reconnect: list[Callable[[], None]] = []
        self.faults: list[Exception] = []

    def writer(self, job: QueuedJob, head: LogHead, *, created_ms: int | None = None) -> LogWriter:
        """A writer that stands at `head`."""
        return LogWriter(
            self.jetstream,
            job,
            created_ms if created_ms is not None else int(time.time() * 1000),
            head,
            limits=LogLimits.for_server(self.client.max_payload, RESULT_TTL),
            metrics=self.metrics,
            clock=time.time,
        )

    async def start_attempt(self, job: QueuedJob, *, worker: str = "w", **fields: Any) -> LogWriter:
        """What a worker does when it is handed the job; `fields` are of the attempt's start."""
        head = await read_head(self.jetstream, job.tenant, job.id)
        writer = self.writer(job, head)
        await writer.load()
        await writer.start_attempt(AttemptStarted(head.attempts + 1, worker, **fields))
        return writer

    def reader(self, **options: Any) -> LogReader:
        """A reader that verifies its tails when this peer's connection comes back."""
        reader = LogReader(
            self.client, self.jetstream, metrics=self.metrics, options=ReaderOptions(**options)
        )
        self.on_reconnect.append(reader.verify_all)
        return reader

    async def queue_job(self, tenant: str = "acme", job_id: str | None = None) -> QueuedJob:
        """Accepts a job as the gateway does."""
        job = QueuedJob(
            id=job_id or new_job_id(),
            tenant=tenant,
            key_id="k1",
            queue="default",
            job_class=JobClass.INTERACTIVE,
            ttl_ms=600_000,
            model="sim-1",
            request_hash=hash_request(JobClass.INTERACTIVE, REQUEST),
            request=msgspec.Raw(REQUEST),
        )
        fence = {
            EXPECTED_LAST_SUBJECT_SEQUENCE: "0",
            EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: job_anywhere(tenant, job.id),
        }
        await self.jetstream.publish(job.subject, encode_job(job), fence)
        return job

    async def stored_lines(self, job: QueuedJob) -> list[Append]:
        """The log as it is stored, read from its head."""
        head = await read_head(self.jetstream, job.tenant, job.id)
        return await read_lines(self.jetstream, job.tenant, job.id, head)

    async def stored(self, job: QueuedJob) -> Events:
        """Every stored event: its sequence and its bytes."""
        return [
            (sequence, bytes(raw))
            for line in await self.stored_lines(job)
            for sequence, raw in enumerate(line.events, line.first)
        ]


class LogWorld(LogPeer):
    """The first peer, with the streams applied; `peer` makes more, and all end with it."""

    def __init__(self, url: str, *, options: StreamOptions | None = None) -> None:
        self._url = url
        self._options = options or StreamOptions()
        self._peers: list[LogPeer] = []
        self._stack = contextlib.AsyncExitStack()

    async def peer(self, *, port: int | None = None, timeout: float = 1.0) -> LogPeer:
        """Another process; `port` is that of a proxy. `timeout` is the requests', in seconds."""
        url = self._url if port is None else f"nats://127.0.0.1:{port}"
        peer = await self._stack.enter_async_context(connected(url, timeout_seconds=timeout))
        self._peers.append(peer)
        return peer

    async def __aenter__(self) -> Self:
        first = await self.peer()
        vars(self).update(vars(first))
        await apply_streams(self.jetstream, self._options)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def connected(url: str, *, timeout_seconds: float = 1.0) -> AsyncIterator[LogPeer]:
    """A peer, connected as the chassis connects."""
    holder: list[LogPeer] = []

    async def reconnected() -> None:
        holder[0].reconnects += 1
        for hook in holder[0].on_reconnect:
            hook()

    async def failed(error: Exception) -> None:
        if holder:
            holder[0].faults.append(error)

    client = NatsClient()
    await client.connect(
        url,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,  # type: ignore[arg-type]
        pending_size=0,
        error_cb=failed,
        reconnected_cb=reconnected,
    )
    jetstream = JetStream(client, timeout=timeout_seconds)
    await jetstream.start()
    holder.append(LogPeer(client, jetstream))
    try:
        yield holder[0]
    finally:
        await client.close()


@asynccontextmanager
async def running(reader: LogReader) -> AsyncIterator[LogReader]:
    """The reader with its eternal task."""
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reader.stop()


def as_events(batch: list[Entry]) -> Events:
    """Entries, comparable."""
    return [(entry.sequence, bytes(entry.raw)) for entry in batch]


async def read_log(reader: LogReader, job: QueuedJob, after: int = 0) -> Events:
    """Everything that a client gets from `after` on, until the terminal event."""
    events: Events = []
    async for batch in reader.events(job.tenant, job.id, after):
        events += as_events(batch)
    return events


async def wait_until(condition: Callable[[], object]) -> None:
    """Gives the loop to others until the condition holds; the test's time-out is the bound."""
    while not condition():
        await asyncio.sleep(0.005)


def text_of(events: Events) -> str:
    """The text of all deltas."""
    decoded = [decode_event(raw) for _, raw in events]
    return "".join(event.data for event in decoded if isinstance(event, Delta))


def words(count: int, *, prefix: str = "") -> list[Delta | Waiting]:
    """`count` deltas, each of its own."""
    return [Delta(f"{prefix}{number} ") for number in range(count)]
