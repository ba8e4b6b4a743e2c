"""An attempt: from `attempt_started` through the provider's tokens to the terminal event."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry.trace import SpanKind

from tidegate.chassis.tracing import Tracing, inject
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import (
    AttemptStarted,
    Completed,
    Failed,
    Terminal,
    Timings,
    Usage,
)
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.writer import LogWriter, OutputTooLongError
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.errors import ProviderError
from tidegate.providers.routes import Route
from tidegate.worker.answer import AnswerMeter
from tidegate.worker.clients import Clients
from tidegate.worker.held_job import HeldJob, Stop
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.verdict import stopped_event

_log = structlog.stdlib.get_logger(module=__name__)


class Attempts:
    """Runs attempts. `worker` is what they say they ran on; clocks give seconds.

    `clock` is the epoch's, `monotonic` any that never goes back.
    """

    def __init__(
        self,
        clients: Clients,
        tracing: Tracing,
        metrics: WorkerMetrics,
        *,
        worker: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._tracing = tracing
        self._metrics = metrics
        self._worker = worker
        self._clock = clock
        self._monotonic = monotonic
        self._tokens_in = metrics.tokens.labels("input")
        self._tokens_out = metrics.tokens.labels("output")

    def knows(self, model: str) -> bool:
        """Whether the model has a route."""
        return model in self._clients.routes

    async def run(
        self, held: HeldJob, job: QueuedJob, number: int, writer: LogWriter
    ) -> Terminal | None:
        """Begins attempt `number`; returns the event that ends the job, None if it is drained.

        Raises:
            FencedError, UnsettledError: the log is not ours; the provider's call is closed.
        """
        route = self._clients.routes[job.model]
        started, started_ms = self._monotonic(), self._clock() * 1000
        meter = AnswerMeter(writer.emit, self._monotonic)
        call: asyncio.Task[ChatResult] | None = None
        with self._deadline(held, job):
            await self._begin(held, job, number, writer)
            # A call whose answer nobody may wait for any more would still be paid for.
            if not held.stop.done():
                work = self._call(job, number, route, meter)
                call = asyncio.create_task(work, name=f"call-{job.id}")
                await self._until_end(held, call, writer)
        ttft = None if meter.first_at is None else meter.first_at - started
        if ttft is not None:
            self._metrics.ttft_seconds.labels(held.job_class).observe(ttft)
        timings = Timings(
            queued_ms=max(0, round(started_ms) - held.delivery.created_ms),
            ttft_ms=None if ttft is None else round(ttft * 1000),
            total_ms=max(0, round(self._clock() * 1000) - held.delivery.created_ms),
        )
        return self._terminal(held, route, call, meter, timings)

    async def _begin(self, held: HeldJob, job: QueuedJob, number: int, writer: LogWriter) -> None:
        route = self._clients.routes[job.model]
        # Two attempts never write equal bytes, or one would take the other's for its own.
        worker = f"{self._worker}-{secrets.token_hex(4)}"
        held.begin(worker)
        await writer.start_attempt(
            AttemptStarted(
                number,
                worker=worker,
                provider=route.provider,
                model=route.upstream_model,
                traceparent=_trace_headers().get("traceparent", ""),
            )
        )
        held.has_begun(number)
        _log.info("attempt", attempt=number, model=job.model, provider=route.provider)

    @contextmanager
    def _deadline(self, held: HeldJob, job: QueuedJob) -> Iterator[None]:
        left = (held.delivery.created_ms + job.ttl_ms) / 1000 - self._clock()
        timer = asyncio.get_running_loop().call_later(max(left, 0.0), held.end, Stop.EXPIRED)
        try:
            yield
        finally:
            timer.cancel()

    async def _until_end(
        self, held: HeldJob, call: asyncio.Task[ChatResult], writer: LogWriter
    ) -> None:
        """Waits for the call, or ends it: for a stop, or a log that was lost."""
        try:
            ends: set[asyncio.Future[Any]] = {call, held.stop, writer.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Closes the provider's connection, whatever the reason, before anything else is done.
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        if writer.lost.done():
            writer.lost.result()

    async def _call(
        self, job: QueuedJob, number: int, route: Route, meter: AnswerMeter
    ) -> ChatResult:
        with self._tracing.span("provider call", kind=SpanKind.CLIENT) as span:
            span.set_attribute("gen_ai.request.model", route.upstream_model)
            span.set_attribute("tidegate.provider", route.provider)
            headers = {
                **_trace_headers(),
                "x-tidegate-job": job.id,
                "x-request-id": f"{job.id}-{number}",
            }
            client = self._clients.of(job.model)
            return await client.stream(bytes(job.request), meter.take, headers=headers)

    def _terminal(
        self,
        held: HeldJob,
        route: Route,
        call: asyncio.Task[ChatResult] | None,
        meter: AnswerMeter,
        timings: Timings,
    ) -> Terminal | None:
        result = error = None
        if call is not None and not call.cancelled():
            error = call.exception()
            result = call.result() if error is None else None
        if isinstance(error, ProviderError):
            self._metrics.provider_errors.labels(route.provider, error.reason).inc()
            _log.warning(
                "provider failed", reason=error.reason, why=error.message, base_url=route.base_url
            )
        usage = meter.usage(None if result is None else result.usage)
        self._tokens_in.inc(usage.input_tokens)
        self._tokens_out.inc(usage.output_tokens)
        if result is not None:
            return Completed(result.finish_reasons, usage, timings)
        if held.stop.done():
            return stopped_event(held.stop.result(), usage)
        if error is None:
            raise asyncio.CancelledError
        return _failed(error, usage)


def _failed(error: BaseException, usage: Usage) -> Failed:
    """The end by an error that is foreseen; any other is raised."""
    if isinstance(error, ProviderError):
        return Failed(error.reason, error.message, retriable=error.retriable, usage=usage)
    if isinstance(error, OutputTooLongError):
        return Failed(
            Reason.OUTPUT_TOO_LONG,
            "the answer is too long to be kept; what there is of it is above",
            usage=usage,
        )
    raise error


def _trace_headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    inject(headers)
    return headers
