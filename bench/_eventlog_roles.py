"""The two processes of bench/eventlog_cost.py: each takes commands as JSON lines and answers so.

A writer sends in one of three ways, a reader listens in one of two; see `WRITERS` and `READERS`.
CPU is this process's own, user and system, over the time that was measured and nothing else.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.nats_client import NatsClient
from tidegate.contracts.events import Append, AttemptStarted, Delta, encode_append, encode_event
from tidegate.contracts.jobs import JobClass, QueuedJob, job_id_for
from tidegate.contracts.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, log_subject
from tidegate.eventlog.appender import Appender
from tidegate.eventlog.head import LogHead
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.tail import Tail
from tidegate.eventlog.writer import LogLimits, LogWriter

TENANT = "bench"
EVENT = Delta(" token")
LINE = encode_append(Append(1, 2, 1_700_000_000_000, [encode_event(EVENT)], log=1))


def job_of(phase: int, number: int) -> QueuedJob:
    """A job that both processes know without talking."""
    return QueuedJob(
        id=job_id_for(TENANT, f"{phase}/{number}"),
        tenant=TENANT,
        key_id="k",
        queue="default",
        job_class=JobClass.INTERACTIVE,
        ttl_ms=3_600_000,
        model="m",
        request_hash="",
        request=msgspec.Raw(b"{}"),
    )


async def connect(url: str, way: str) -> Client:
    """Our client for the log, the library's own for what it is compared with."""
    client = NatsClient() if way == "log" else Client()
    await client.connect(url)
    return client


class TimedJetStream(JetStream):
    """Keeps how long each publish waited for its acknowledgement, in seconds."""

    def __init__(self, client: NatsClient) -> None:
        super().__init__(client, timeout=10.0)
        self.waits: list[float] = []

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        begun = time.perf_counter()
        sequence = await super().publish(subject, payload, headers)
        self.waits.append(time.perf_counter() - begun)
        return sequence


class LogSender:
    """The log's writer: group commit, fence, settlement."""

    def __init__(self, client: Client, jobs: list[QueuedJob]) -> None:
        assert isinstance(client, NatsClient)
        self._jetstream = TimedJetStream(client)
        self._metrics = EventLogMetrics(CollectorRegistry())
        self._jobs = jobs
        self._writers: list[LogWriter] = []
        self._appenders: list[Appender] = []
        self._emitted = 0
        self.waits = self._jetstream.waits

    async def prepare(self) -> None:
        await self._jetstream.start()
        limits = LogLimits(100_000_000, 60)
        for job in self._jobs:
            writer = LogWriter(
                self._jetstream,
                job,
                int(time.time() * 1000),
                LogHead(),
                limits=limits,
                metrics=self._metrics,
                clock=time.time,
            )
            self._writers.append(writer)
        await asyncio.gather(
            *(writer.start_attempt(AttemptStarted(1, "w")) for writer in self._writers)
        )
        self._emitted = len(self._writers)
        self._appenders = [writer._appender for writer in self._writers]

    async def send(self, number: int) -> None:
        self._emitted += 1
        self._writers[number].emit(EVENT)

    async def send_and_wait(self, number: int) -> None:
        await self._appenders[number].append(LINE)

    async def settle(self) -> None:
        while self._emitted and self._metrics.events._value.get() < self._emitted:
            await asyncio.sleep(0.002)

    async def finish(self) -> None:
        await asyncio.gather(*(writer.abandon() for writer in self._writers))


class LibrarySender:
    """nats-py's own JetStream publish with the same fence, one in flight for each job."""

    def __init__(self, client: Client, jobs: list[QueuedJob]) -> None:
        self._jetstream = client.jetstream(timeout=10.0)
        self._subjects = [log_subject(job.tenant, job.id) for job in jobs]
        self._last = [0] * len(jobs)
        self._due = [0] * len(jobs)
        self._busy: set[asyncio.Task[None]] = set()
        self.waits: list[float] = []

    async def prepare(self) -> None:
        for start in range(0, len(self._subjects), 100):
            some = range(start, min(start + 100, len(self._subjects)))
            await asyncio.gather(*(self.send_and_wait(number) for number in some))

    async def send(self, number: int) -> None:
        self._due[number] += 1
        if self._due[number] == 1:
            task = asyncio.create_task(self._send_due(number))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _send_due(self, number: int) -> None:
        while self._due[number]:
            await self.send_and_wait(number)
            self._due[number] -= 1

    async def send_and_wait(self, number: int) -> None:
        begun = time.perf_counter()
        ack = await self._jetstream.publish(
            self._subjects[number],
            LINE,
            headers={EXPECTED_LAST_SUBJECT_SEQUENCE: str(self._last[number])},
        )
        self._last[number] = ack.seq
        self.waits.append(time.perf_counter() - begun)

    async def settle(self) -> None:
        await asyncio.gather(*self._busy)

    async def finish(self) -> None:
        return


class CoreSender:
    """A bare publish: nothing is stored, nothing acknowledged."""

    def __init__(self, client: Client, jobs: list[QueuedJob]) -> None:
        self._client = client
        self._subjects = [f"bare.{job.id}" for job in jobs]
        self.waits: list[float] = []

    async def prepare(self) -> None:
        return

    async def send(self, number: int) -> None:
        await self._client.publish(self._subjects[number], LINE)

    async def send_and_wait(self, number: int) -> None:
        await self._client.publish(self._subjects[number], LINE)
        await asyncio.sleep(0)

    async def settle(self) -> None:
        return

    async def finish(self) -> None:
        return


Sender = LogSender | LibrarySender | CoreSender
WRITERS: dict[str, Callable[[Client, list[QueuedJob]], Sender]] = {
    "log": LogSender,
    "library": LibrarySender,
    "core": CoreSender,
}


async def paced(sender: Sender, jobs: int, rate: float, seconds: float) -> int:
    """Every job sends `rate` events a second, all out of step; returns how many were sent."""
    begun, sent, total = time.perf_counter(), 0, int(jobs * rate * seconds)
    while sent < total:
        due = min(int((time.perf_counter() - begun) * jobs * rate), total)
        while sent < due:
            await sender.send(sent % jobs)
            sent += 1
        await asyncio.sleep(0.002)
    return sent


async def saturated(sender: Sender, jobs: int, seconds: float) -> int:
    """Every job sends its next event as soon as the last one is settled."""
    until, counts = time.perf_counter() + seconds, [0] * jobs

    async def one(number: int) -> None:
        while time.perf_counter() < until:
            await sender.send_and_wait(number)
            counts[number] += 1

    await asyncio.gather(*(one(number) for number in range(jobs)))
    return sum(counts)


class Writer:
    """Answers `prepare` and `run`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        self._sender: Sender | None = None
        self._jobs = 0

    async def prepare(self, way: str, phase: int, jobs: int) -> dict[str, Any]:
        self._client = await connect(self._url, way)
        self._jobs = jobs
        self._sender = WRITERS[way](self._client, [job_of(phase, n) for n in range(jobs)])
        await self._sender.prepare()
        return {}

    async def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """`rate` 0 means as fast as it goes. CPU in µs per event, waits in ms."""
        assert self._sender is not None
        self._sender.waits.clear()
        cpu, begun = time.process_time(), time.perf_counter()
        if rate:
            sent = await paced(self._sender, self._jobs, rate, seconds)
        else:
            sent = await saturated(self._sender, self._jobs, seconds)
        await self._sender.settle()
        cpu, took = time.process_time() - cpu, time.perf_counter() - begun
        waits = sorted(self._sender.waits)
        await self._sender.finish()
        await self._client.close()
        answer: dict[str, Any] = {"events": sent, "rate": sent / took, "cpu_us": cpu / sent * 1e6}
        if waits:
            answer["appends"] = len(waits)
            answer["p50_ms"] = waits[len(waits) // 2] * 1e3
            answer["p99_ms"] = waits[len(waits) * 99 // 100] * 1e3
        return answer


class Reader:
    """Answers `prepare`, `begin` and `end`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        self._log: LogReader | None = None
        self._count = 0
        self._before = (0.0, 0)

    async def prepare(self, way: str, phase: int, jobs: int) -> dict[str, Any]:
        self._client = await connect(self._url, way)
        self._count = 0
        if way == "core":
            await self._client.subscribe("live.>", cb=self._on_message)
            await self._client.flush()
        else:
            await self._follow(phase, jobs)
        return {}

    async def begin(self) -> dict[str, Any]:
        self._before = (time.process_time(), self._count)
        return {}

    async def end(self, settle: float) -> dict[str, Any]:
        """Waits until nothing more comes; CPU in µs per event."""
        count = -1
        while count != self._count:
            count = self._count
            await asyncio.sleep(settle)
        cpu, events = time.process_time() - self._before[0], self._count - self._before[1]
        if self._log is not None:
            await self._log.stop()
            self._log = None
        await self._client.close()
        return {"events": events, "cpu_us": cpu / max(events, 1) * 1e6}

    async def _on_message(self, message: Msg) -> None:
        self._count += 1

    async def _follow(self, phase: int, jobs: int) -> None:
        assert isinstance(self._client, NatsClient)
        jetstream = JetStream(self._client, timeout=10.0)
        await jetstream.start()
        metrics = EventLogMetrics(CollectorRegistry())
        self._log = LogReader(self._client, jetstream, metrics=metrics)
        for number in range(jobs):
            await self._follow_one(self._log, job_of(phase, number).id)

    async def _follow_one(self, log: LogReader, job_id: str) -> None:
        tails: list[Tail] = []
        position = 0

        def heard() -> None:
            nonlocal position
            if tails:
                batch = tails[0].entries[position:]
                position += len(batch)
                self._count += len(batch)

        tails.append(await log.follow(TENANT, job_id, heard))
        heard()


async def serve(role: Writer | Reader) -> None:
    """Takes commands from standard input until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        method: Callable[..., Awaitable[dict[str, Any]]] = getattr(role, command.pop("do"))
        print(json.dumps(await method(**command)), flush=True)


if __name__ == "__main__":
    uvloop.run(serve((Writer if sys.argv[1] == "writer" else Reader)(sys.argv[2])))
