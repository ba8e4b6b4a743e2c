"""Workers on a real NATS server, with the simulator behind them, and jobs put into the queue.

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

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry

from tests.support.log_world import Events, LogWorld, read_log, running
from tests.support.nats_server import NatsServer, free_port
from tests.support.services import ServiceProcess
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.lifecycle import Lifecycle
from tidegate.chassis.settings import ListenAddress
from tidegate.contracts.events import Event, Terminal, decode_event
from tidegate.contracts.jobs import JobClass, QueuedJob, encode_job, hash_request, new_job_id
from tidegate.contracts.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    control_subject,
    job_anywhere,
    nudge_subject,
)
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.streams import apply_consumers
from tidegate.providers.routes import load_routes
from tidegate.simulator.answer import answer
from tidegate.simulator.app import make_server
from tidegate.simulator.settings import SimulatorSettings
from tidegate.worker.app import make_worker
from tidegate.worker.settings import WorkerSettings

TENANT = "acme"
MESSAGES = [{"role": "user", "content": "When does the tide turn?"}]
_SEED = 1

Stats = dict[str, Any]


class WorkerWorld(LogWorld):
    """`settings` are the simulator's, without their prefix `simulator_`."""

    http: aiohttp.ClientSession
    log_reader: LogReader

    def __init__(
        self,
        nats: NatsServer,
        directory: Path,
        *,
        queues: tuple[str, ...] = ("default",),
        **settings: Any,
    ) -> None:
        super().__init__(nats.url)
        self.nats = nats
        self.queues = queues
        self._directory = directory
        self._simulator = simulator(**settings)
        self._lifecycles: list[Lifecycle] = []

    @property
    def routes_file(self) -> Path:
        """One model for each queue, named after it; `sim-1` is that of the first."""
        path = self._directory / "routes.yaml"
        url = f"http://{self._simulator.address}/v1"
        timeouts = "{connect: 2, first_token: 30, between_tokens: 1, total: 60}"
        entries = [
            f"  {model}: {{queue: {queue}, base_url: '{url}', upstream_model: sim-small, "
            f"provider: simulator, timeouts: {timeouts}}}\n"
            for model, queue in [("sim-1", self.queues[0]), *((q, q) for q in self.queues)]
        ]
        path.write_text("models:\n" + "".join(entries), encoding="utf-8")
        return path

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        try:
            await self.make_consumers()
            await self._simulator.start()
            self._stack.push_async_callback(self._simulator.stop, Deadline(1))
            base = f"http://{self._simulator.address}"
            self.http = await self._stack.enter_async_context(aiohttp.ClientSession(base))
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

    async def start_worker(self, **settings: Any) -> Lifecycle:
        """A worker in this process, ready; it ends with the world unless it is stopped before."""
        listen = {"health_listen": ListenAddress("127.0.0.1:0")}
        made = WorkerSettings(**self.settings(**listen | settings))
        lifecycle = make_worker(made, load_routes(made.routes_file))
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
        tokens: int = 20,
        job_class: JobClass = JobClass.INTERACTIVE,
        model: str = "sim-1",
        queue: str | None = None,
        ttl_seconds: float = 600,
        traceparent: str = "",
        job_id: str | None = None,
        payload: bytes | None = None,
        **fields: Any,
    ) -> QueuedJob:
        """Accepts a job as the gateway does; `payload` stands for what another one would store."""
        body = {"messages": MESSAGES, "model": model, "max_tokens": tokens} | fields
        request = msgspec.json.encode(body)
        job = QueuedJob(
            id=job_id or new_job_id(),
            tenant=TENANT,
            key_id="k1",
            queue=queue or self.queues[0],
            job_class=job_class,
            ttl_ms=int(ttl_seconds * 1000),
            model=model,
            request_hash=hash_request(job_class, request),
            request=msgspec.Raw(request),
            traceparent=traceparent,
        )
        await self.put(job.subject, encode_job(job) if payload is None else payload, job.id)
        return job

    async def put(self, subject: str, payload: bytes, job_id: str) -> None:
        """Puts a message into the queue."""
        fence = {
            EXPECTED_LAST_SUBJECT_SEQUENCE: "0",
            EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: job_anywhere(TENANT, job_id),
        }
        await self.jetstream.publish(subject, payload, fence)

    async def record_cancel(self, job_id: str, *, nudge: bool = True) -> None:
        """Cancels durably, as the gateway does."""
        await self.jetstream.publish(control_subject(TENANT, job_id), b"{}", {})
        if nudge:
            await self.client.publish(nudge_subject(TENANT, job_id))

    def answer(self, tokens: int = 20) -> str:
        """The text that the model gives."""
        return answer(_SEED, MESSAGES, tokens).text()

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

    async def _consumer(self) -> dict[str, Any]:
        return await self.jetstream.api(f"CONSUMER.INFO.JOBS.{self.queues[0]}-interactive")

    async def fault(self, **fault: Any) -> None:
        """Has the simulator misbehave; see its control API."""
        async with self.http.post("/faults", json=fault) as response:
            assert response.status == 200, await response.text()

    async def stats(self, **query: str) -> Stats:
        """What the simulator saw."""
        async with self.http.get("/stats", params=query) as response:
            stats: Stats = await response.json()
            return stats

    async def calls_running(self, number: int) -> None:
        """Returns when the simulator runs exactly so many calls."""
        while (await self.stats())["running"] != number:
            await asyncio.sleep(0.01)


def simulator(**settings: Any) -> HttpServer:
    """The simulator in this process; `settings` without their prefix."""
    quick = {"ttft_seconds": 0.02, "tokens_per_second": 200.0, "seed": _SEED}
    given = {f"simulator_{name}": value for name, value in (quick | settings).items()}
    made = SimulatorSettings(simulator_listen=ListenAddress("127.0.0.1:0"), **given)
    return make_server(made, Health(), CollectorRegistry())


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
