"""One job's calls to providers: each is an attempt, which is in the log before the call is made."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from opentelemetry.trace import SpanKind

from tidegate.chassis.tracing import Tracing, inject
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import AttemptStarted, Usage, Waiting
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.eventlog.writer import LogWriter
from tidegate.providers.breakers import Permit
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.clients import Clients
from tidegate.providers.errors import ProviderError
from tidegate.providers.ledger import NOTHING, Ledger
from tidegate.providers.routes import Target
from tidegate.worker.answer import AnswerMeter
from tidegate.worker.held_job import HeldJob
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.waits import BatchWaits

_log = structlog.stdlib.get_logger(module=__name__)

# A batch job that waits for no longer keeps its slot: handing it back would cost more.
_SHORT_SECONDS: Final = 2.0


class ParkedError(Exception):
    """A batch job is to wait in the queue until this time (epoch seconds), and not in its slot."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class StoppedError(Exception):
    """The job was asked to stop before its call was made."""


@dataclass(frozen=True, slots=True)
class CallParts:
    """What calls are made with. `worker` is what attempts say they ran on; clocks give seconds.

    `clock` is the epoch's, `monotonic` any that never goes back.
    """

    clients: Clients
    waits: BatchWaits
    tracing: Tracing
    metrics: WorkerMetrics
    worker: str
    clock: Callable[[], float]
    monotonic: Callable[[], float]


class JobCalls:
    """The calls of one job in this process, one after another, as attempts after `number`.

    Close it when no more are made. `calling` says whether an attempt has begun and not failed,
    `outdated` whether the routes have changed since the targets were chosen.
    """

    def __init__(
        self,
        parts: CallParts,
        held: HeldJob,
        job: QueuedJob,
        writer: LogWriter,
        ledger: Ledger,
        *,
        number: int,
        outdated: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._held = held
        self._job = job
        self._writer = writer
        self._ledger = ledger
        self._number = number
        self._outdated = outdated
        self._why = "again" if number else "first"
        self._starting: asyncio.Task[None] | None = None
        self._waits = False
        self.calling = False
        self.started_at: float | None = None
        self.started_ms: float | None = None
        self.meter: AnswerMeter | None = None

    @property
    def ttft(self) -> float | None:
        """Seconds from the start of the last attempt to its first token."""
        if self.started_at is None or self.meter is None or self.meter.first_at is None:
            return None
        return self.meter.first_at - self.started_at

    async def call(self, target: Target, permit: Permit) -> ChatResult:
        """One attempt at a target.

        Raises:
            ProviderError: it failed.
            StoppedError: the job is not to be worked on any more.
            FencedError, UnsettledError, OutputTooLongError: what the log raises.
        """
        self._leave()
        await self._begin(target)
        if self._held.stop.done():
            # A call whose answer nobody may wait for any more would still be paid for.
            raise StoppedError
        meter = self.meter = AnswerMeter(
            self._writer.emit, self._parts.monotonic, on_first=lambda: self._first(permit)
        )
        try:
            result = await self._stream(target, meter)
        except ProviderError as error:
            self.calling, self._why = False, str(error.reason)
            self._failed(target, meter, error)
            self._excuse(permit, error)
            raise
        except BaseException:
            self._book(target, None, meter)
            raise
        self._book(target, result.usage, meter)
        return result

    async def wait(self, reason: Reason, until: float) -> None:
        """Says in the log that the job waits, until a time in epoch seconds.

        Raises:
            ParkedError: too many batch jobs wait already, or this one for targets of old routes.
            FencedError, UnsettledError, OutputTooLongError: what the log raises.
        """
        held = self._held
        long = until - self._parts.clock() > _SHORT_SECONDS
        if held.job_class is JobClass.BATCH and long:
            # Where the routes have changed, what is waited for here may never come back.
            if self._outdated() or not (self._waits or self._parts.waits.enter(held.queue)):
                raise ParkedError(until)
            self._waits = True
        if held.begun:
            # Before it has begun an attempt here, a worker has no say in the log.
            self._writer.emit(Waiting(reason, int(until * 1000)))

    async def settle(self) -> None:
        """Returns when no start of an attempt is under way, for it must not be cut short."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)

    def close(self) -> None:
        """Ends what is under way."""
        self._leave()
        if self._starting is not None:
            self._starting.cancel()

    def _leave(self) -> None:
        if self._waits:
            self._waits = False
            self._parts.waits.leave(self._held.queue)

    async def _begin(self, target: Target) -> None:
        self._ledger.begin(target)
        self._number += 1
        self.meter = None
        self.started_at, self.started_ms = self._parts.monotonic(), self._parts.clock() * 1000
        # Two attempts never write equal bytes, or one would take the other's for its own.
        worker = f"{self._parts.worker}-{secrets.token_hex(4)}"
        lost = self._ledger.lost
        event = AttemptStarted(
            self._number,
            worker=worker,
            provider=target.provider,
            model=target.model,
            traceparent=_trace_headers().get("traceparent", ""),
            lost=lost.usage,
            lost_cost_nano_usd=lost.cost,
        )
        self._starting = asyncio.create_task(self._start(event), name=f"start-{self._job.id}")
        await asyncio.shield(self._starting)
        _log.info("attempt", attempt=self._number, model=self._job.model, provider=target.provider)

    async def _start(self, event: AttemptStarted) -> None:
        self._held.begin(event.worker)
        await self._writer.start_attempt(event)
        self._held.has_begun(event.attempt)
        self.calling = True
        self._parts.metrics.attempts.labels(self._why).inc()

    async def _stream(self, target: Target, meter: AnswerMeter) -> ChatResult:
        with self._parts.tracing.span("provider call", kind=SpanKind.CLIENT) as span:
            span.set_attribute("gen_ai.request.model", target.model)
            span.set_attribute("tidegate.provider", target.provider)
            headers = {
                **_trace_headers(),
                "x-tidegate-job": self._job.id,
                "x-request-id": f"{self._job.id}-{self._number}",
            }
            client = self._parts.clients.chat(target)
            return await client.stream(
                target, bytes(self._job.request), meter.take, headers=headers
            )

    def _first(self, permit: Permit) -> None:
        permit.answering()
        if (ttft := self.ttft) is not None:
            self._parts.metrics.ttft_seconds.labels(self._held.job_class).observe(ttft)

    def _failed(self, target: Target, meter: AnswerMeter, error: ProviderError) -> None:
        # Who was turned away pays nothing, a connection's time-out included.
        why = Reason.PROVIDER_UNAVAILABLE if error.turned_away else error.reason
        self._book(target, error.usage, meter, why)
        _log.warning(
            "provider failed",
            attempt=self._number,
            provider=target.provider,
            reason=error.reason,
            why=error.message,
            base_url=target.base_url,
        )

    def _excuse(self, permit: Permit, error: ProviderError) -> None:
        """A batch job waits an outage out: what turns it away there uses up no attempts.

        Nor do its probes, which are the fleet's. Calls that may have cost something do: a job that
        is at fault itself must have an end.
        """
        batch = self._held.job_class is JobClass.BATCH
        free = self._ledger.usage == NOTHING and error.retriable
        if batch and free and (error.turned_away or permit.probing):
            error.counts = False
            self._writer.excuse()

    def _book(
        self, target: Target, told: Usage | None, meter: AnswerMeter, failed: str = ""
    ) -> None:
        self._ledger.book(target, told, meter.count, failed)
        self._parts.metrics.bills.used(self._ledger.usage)


def _trace_headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    inject(headers)
    return headers
