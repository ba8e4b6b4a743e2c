"""Workers on a real NATS server, with two simulators behind them, and jobs put into the queue.

    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()                     # in this process; or world.process()
        job = await world.submit(tokens=20)
        events = await world.until_end(job)
        assert text_of(events) == world.answer(tokens=20)

The test is the gateway: it makes streams and consumers and writes jobs and cancels as that does.
"""

import asyncio
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.support.control import record_cancel
from tests.support.log_world import Events, LogWorld, read_log, running
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import ServiceProcess
from tests.support.simulated import SEED, SimulatedProvider, Stats
from tidegate.chassis.lifecycle import Lifecycle
from tidegate.chassis.settings import ListenAddress
from tidegate.contracts.dead_letter import DeadLetter, decode_dead_letter
from tidegate.contracts.events import AttemptStarted, Event, Terminal, Waiting, decode_event
from tidegate.contracts.jobs import JobClass, QueuedJob, encode_job, hash_request, new_job_id
from tidegate.contracts.subjects import (
    BREAKERS_STREAM,
    DLQ_ALL,
    DLQ_STREAM,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    JOBS_STREAM,
    job_anywhere,
    nudge_subject,
    tenant_and_job,
)
from tidegate.eventlog.head import LogHead, read_head
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.streams import apply_consumers
from tidegate.providers.breaker import BreakerPolicy
from tidegate.simulator.answer import answer
from tidegate.worker.app import make_worker
from tidegate.worker.flights import DEFAULT_POLICY, FlightPolicy
from tidegate.worker.settings import WorkerSettings

TENANT = "acme"
MESSAGES = [{"role": "user", "content": "When does the tide turn?"}]
_TIMEOUTS = "{connect: 2, first_token: 30, between_tokens: 1, total: 60}"


class WorkerWorld(LogWorld):
    """`settings` are the simulator's, without their prefix `simulator_`."""

    log_reader: LogReader

    def __init__(
        self,
        nats: NatsServer,
        directory: Path,
        *,
        queues: tuple[str, ...] = ("default",),
        timeouts: str = _TIMEOUTS,
        **settings: Any,
    ) -> None:
        super().__init__(nats.url)
        self.nats = nats
        self.queues = queues
        self.timeouts = timeouts
        self._directory = directory
        self.main = SimulatedProvider(**settings)
        self.backup = SimulatedProvider(**settings)
        self._lifecycles: list[Lifecycle] = []

    @property
    def routes_file(self) -> Path:
        """The file of the routes, written anew."""
        path = self._directory / "routes.yaml"
        self.write_routes(path)
        return path

    def write_routes(self, path: Path, *queues: str, without: str = "") -> None:
        """One model for each queue, named after it; all others wait in the first queue.

        `sim-1` has no known price. `priced` has one, and `two-homes`, which is answered by the
        backup where the main provider fails; `steady` is answered by the backup alone.
        """
        main, backup = "provider: simulator, model: sim-small", "provider: backup, model: sim-small"
        priced = "provider: priced, model: sim-small"
        price = "price: {input: 1, output: 2}"
        first = self.queues[0]
        models = {
            "sim-1": f"{{queue: {first}, targets: [{{{main}}}]}}",
            "priced": f"{{queue: {first}, targets: [{{{priced}, {price}}}]}}",
            "two-homes": f"{{queue: {first}, targets: [{{{main}}}, {{{backup}, {price}}}]}}",
            "steady": f"{{queue: {first}, targets: [{{{backup}}}]}}",
        }
        models |= {
            queue: f"{{queue: {queue}, targets: [{{{main}}}]}}" for queue in (*self.queues, *queues)
        }
        providers = {"simulator": self.main, "priced": self.main, "backup": self.backup}
        lines = ["providers:"]
        lines += [
            f"  {name}: {{base_url: '{provider.url}/v1', timeouts: {self.timeouts}}}"
            for name, provider in providers.items()
        ]
        lines += ["models:"]
        lines += [f"  {name}: {model}" for name, model in models.items() if name != without]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.make_consumers()
            for provider in (self.main, self.backup):
                await self._stack.enter_async_context(provider)
            reader = self.reader()
            self.log_reader = await self._stack.enter_async_context(running(reader))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for lifecycle in self._lifecycles:
            await lifecycle.stop()
        await super().__aexit__(*exc_info)

    async def make_consumers(self) -> None:
        """What the gateway does when it starts."""
        await apply_consumers(self.jetstream, self.queues)

    def settings(self, **settings: Any) -> dict[str, Any]:
        """A worker's settings, with some of a test's own."""
        given: dict[str, Any] = {
            "nats_url": self.nats.url,
            "routes_file": self.routes_file,
            "worker_concurrency": 16,
            "drain_seconds": 0.5,
        }
        return given | settings

    async def start_worker(
        self,
        *,
        breaking: BreakerPolicy | None = None,
        flying: FlightPolicy = DEFAULT_POLICY,
        **settings: Any,
    ) -> Lifecycle:
        """A worker in this process, ready; it ends with the world unless it is stopped before."""
        listen = {"health_listen": ListenAddress("127.0.0.1:0")}
        made = WorkerSettings(**self.settings(**listen | settings))
        lifecycle = make_worker(made, breaking, flying)
        self._lifecycles.append(lifecycle)
        await lifecycle.start()
        return lifecycle

    def process(self, **settings: Any) -> ServiceProcess:
        """A worker as a process of its own, not started yet."""
        environ = {
            f"TIDEGATE_{name.upper()}": str(value)
            for name, value in self.settings(**settings).items()
        }
        return ServiceProcess("worker", self._directory, free_port(), **environ)

    async def submit(
        self,
        *,
        tokens: int | None = 20,
        job_class: JobClass = JobClass.INTERACTIVE,
        model: str = "sim-1",
        queue: str | None = None,
        ttl_seconds: float = 600,
        traceparent: str = "",
        job_id: str | None = None,
        payload: bytes | None = None,
        tenant: str = TENANT,
        **fields: Any,
    ) -> QueuedJob:
        """Accepts a job as the gateway does; `payload` stands for what another one would store.

        `tokens` None: the answer has its natural length, and ends by itself.
        """
        body = {"messages": MESSAGES, "model": model, "max_tokens": tokens} | fields
        body = {name: value for name, value in body.items() if value is not None}
        request = msgspec.json.encode(body)
        job = QueuedJob(
            id=job_id or new_job_id(),
            tenant=tenant,
            key_id="k1",
            queue=queue or self.queues[0],
            job_class=job_class,
            ttl_ms=int(ttl_seconds * 1000),
            model=model,
            request_hash=hash_request(job_class, request),
            request=msgspec.Raw(request),
            traceparent=traceparent,
        )
        await self.put(job.subject, encode_job(job) if payload is None else payload)
        return job

    async def put(self, subject: str, payload: bytes) -> None:
        """Puts a message into the queue."""
        fence = {
            EXPECTED_LAST_SUBJECT_SEQUENCE: "0",
            EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: job_anywhere(*tenant_and_job(subject)),
        }
        await self.jetstream.publish(subject, payload, fence)

    async def record_cancel(self, job_id: str, *, nudge: bool = True) -> None:
        """Cancels durably, as the gateway does."""
        await record_cancel(self.jetstream, TENANT, job_id)
        if nudge:
            await self.client.publish(nudge_subject(TENANT, job_id))

    def answer(self, tokens: int | None = 20) -> str:
        """The text that the model gives."""
        return answer(SEED, MESSAGES, tokens).text()

    async def until_end(self, job: QueuedJob) -> Events:
        """All of a job's events, as a client gets them."""
        return await read_log(self.log_reader, job)

    async def until_deltas(self, job: QueuedJob, number: int) -> None:
        """Returns when that many deltas are in the log."""
        seen = 0
        async for batch in self.log_reader.events(job.tenant, job.id, 0):
            seen += sum(b'"delta"' in bytes(entry.raw) for entry in batch)
            if seen >= number:
                return

    async def waiting(self) -> int:
        """Messages in all queues."""
        return int((await self.jetstream.api("STREAM.INFO.JOBS"))["state"]["messages"])

    async def until_queue_empty(self) -> None:
        """Returns when every job was acknowledged."""
        while await self.waiting():
            await asyncio.sleep(0.01)

    async def deliver_again(self) -> None:
        """Has the server deliver the first message of the interactive queue once more.

        Only keep-alives that were lost do so otherwise; an outsider's refusal has the same effect.
        """
        await self.client.publish(f"$JS.ACK.JOBS.{self.queues[0]}-interactive.1.1.1.0.0", b"-NAK")

    async def deliveries(self) -> int:
        """How often the interactive queue has delivered a message."""
        return int((await self._consumer())["delivered"]["consumer_seq"])

    async def until_deliveries(self, number: int) -> None:
        """Returns when so many were made."""
        while await self.deliveries() < number:
            await asyncio.sleep(0.01)

    async def is_offered(self) -> bool:
        """Whether a job of the interactive queue may be taken now; it is taken, and left alone."""
        subject = f"$JS.API.CONSUMER.MSG.NEXT.JOBS.{self.queues[0]}-interactive"
        message = await self.client.request(subject, b'{"batch": 1, "no_wait": true}')
        return not (message.headers and "Status" in message.headers)

    async def remove_consumers(self) -> None:
        """What an operator's mistake does."""
        for job_class in JobClass:
            await self.jetstream.api(f"CONSUMER.DELETE.JOBS.{self.queues[0]}-{job_class}")

    async def batch_outstanding(self) -> int:
        """Jobs of the first batch queue that workers have and have not let go of."""
        info = await self.jetstream.api(f"CONSUMER.INFO.JOBS.{self.queues[0]}-batch")
        return int(info["num_ack_pending"])

    async def _consumer(self) -> dict[str, Any]:
        return await self.jetstream.api(f"CONSUMER.INFO.JOBS.{self.queues[0]}-interactive")

    async def fault(self, **fault: Any) -> None:
        """Has the main provider misbehave; see the simulator's control API."""
        await self.main.fault(**fault)

    async def stats(self, **query: str) -> Stats:
        """What the main provider saw."""
        return await self.main.stats(**query)

    async def calls_running(self, number: int) -> None:
        """Returns when the main provider runs exactly so many calls."""
        while (await self.stats())["running"] != number:
            await asyncio.sleep(0.01)

    async def head(self, job: QueuedJob) -> LogHead:
        """Where the job's log stands."""
        return await read_head(self.jetstream, job.tenant, job.id)

    async def seal(self, job: QueuedJob, end: Terminal) -> int:
        """Ends the log of a queued job, whose message stays; when that was stored, epoch ms."""
        stored = await self.jetstream.last(JOBS_STREAM, job.subject)
        assert stored is not None
        writer = self.writer(job, await self.head(job), created_ms=stored.time_ms)
        await writer.load()
        await writer.seal(end)
        await writer.abandon()
        return stored.time_ms

    async def until_waiting(self, job: QueuedJob) -> None:
        """Returns when the log says that the job waits."""
        async for batch in self.log_reader.events(job.tenant, job.id, 0):
            if any(b'"waiting"' in bytes(entry.raw) for entry in batch):
                return

    async def dead_letters(self) -> list[DeadLetter]:
        """All dead letters."""
        batch = await self.jetstream.direct_batch(DLQ_STREAM, DLQ_ALL, 1)
        return [decode_dead_letter(stored.payload) for stored in batch.messages]

    async def forget_breakers(self) -> None:
        """Closes all circuit breakers for workers that are started from now on."""
        await self.jetstream.api(f"STREAM.PURGE.{BREAKERS_STREAM}")


def decoded(events: Events) -> list[Event]:
    """The events themselves."""
    known = [decode_event(raw) for _, raw in events]
    assert None not in known
    return [event for event in known if event is not None]


def terminal_of(events: Events) -> Terminal:
    """The last event, which must be the only terminal one, of a log without gaps."""
    assert [sequence for sequence, _ in events] == list(range(1, len(events) + 1))
    terminals = [event for event in decoded(events) if isinstance(event, Terminal)]
    assert len(terminals) == 1
    return terminals[0]


def attempts_of(events: Events) -> list[AttemptStarted]:
    """The beginnings of its attempts."""
    return [event for event in decoded(events) if isinstance(event, AttemptStarted)]


def waits_of(events: Events) -> list[Waiting]:
    """What it said that it waits for."""
    return [event for event in decoded(events) if isinstance(event, Waiting)]


def attempts_in(events: Events) -> int:
    """Attempts begun."""
    return sum(b'"attempt_started"' in raw for _, raw in events)


def text_of_last_attempt(events: Events) -> str:
    """The text that a client shows at the end."""
    parts: list[str] = []
    for event in msgspec.json.decode(b"[" + b",".join(raw for _, raw in events) + b"]"):
        if event["type"] == "attempt_started":
            parts.clear()
        elif event["type"] == "delta" and event.get("kind", "text") == "text":
            parts.append(event["data"])
    return "".join(parts)
