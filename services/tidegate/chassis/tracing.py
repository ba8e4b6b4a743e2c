"""Traces that go on from process to process, whether or not anybody collects them.

Without an endpoint no span leaves the process, but trace ids are still taken over, begun and passed
on (W3C Trace Context), so that the logs of all services can be joined. With one, the OpenTelemetry
SDK is loaded. Spans never carry an exception's text: it can quote a prompt.
"""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Protocol

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

import tidegate
from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import SettingsError, TracingSettings

_log = structlog.stdlib.get_logger(module=__name__)
_propagator = TraceContextTextMapPropagator()


class _Provider(Protocol):
    def get_tracer(self, instrumenting_module_name: str, /) -> trace.Tracer: ...

    def shutdown(self) -> None: ...


def inject(carrier: MutableMapping[str, str], context: Context | None = None) -> None:
    """Write `traceparent` and `tracestate` of `context` (None: the current) into `carrier`."""
    _propagator.inject(carrier, context)


def extract(carrier: Mapping[str, str]) -> Context:
    """The trace context in `carrier` (names in lower case); an empty one if it holds none."""
    return _propagator.extract(carrier)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The current trace context as gRPC metadata."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple(carrier.items())


class Tracing:
    """Starts spans. A component: `stop` sends what is still buffered."""

    name = "tracing"

    def __init__(self, provider: _Provider | None = None) -> None:
        """`provider`: an OpenTelemetry SDK provider; None records nothing."""
        self._provider = provider
        self._tracer = provider.get_tracer("tidegate") if provider else None

    def start_span(
        self,
        name: str,
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span that the caller ends. `parent`: None means the current context."""
        if self._tracer is not None:
            return self._tracer.start_span(
                name,
                context=parent,
                kind=kind,
                attributes=attributes,
                record_exception=False,
                set_status_on_exception=False,
            )
        inherited = trace.get_current_span(parent).get_span_context()
        return NonRecordingSpan(inherited if inherited.is_valid else _new_context())

    @contextmanager
    def span(
        self,
        name: str,
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Iterator[Span]:
        """A span that is current inside; log lines carry its trace id as `trace`.

        An exception marks it as failed by its type and passes through.
        """
        span = self.start_span(name, parent=parent, kind=kind, attributes=attributes)
        try:
            with (
                trace.use_span(span, record_exception=False, set_status_on_exception=False),
                structlog.contextvars.bound_contextvars(trace=trace_id_of(span)),
            ):
                yield span
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    async def start(self) -> None:
        """Nothing waits for a collector."""

    async def stop(self, deadline: Deadline) -> None:
        """Send what is buffered, as far as time allows."""
        del deadline  # the lifecycle cancels
        if self._provider is not None:
            await _in_daemon_thread(self._provider.shutdown)


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Unlike the loop's executor it does not keep the process alive when nobody waits any more."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            # The loop may be closed by then, and nobody interested.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="tracing-shutdown", daemon=True).start()
    await done.wait()


def trace_id_of(span: Span) -> str:
    """The id of the trace that `span` belongs to, in 32 hex digits."""
    return trace.format_trace_id(span.get_span_context().trace_id)


def configure_tracing(settings: TracingSettings, *, service: str) -> Tracing:
    """Tracing as `settings` say.

    Raises SettingsError if there is an endpoint and the extra `tidegate[otel]` is not installed.
    """
    if settings.otlp_endpoint is None:
        return Tracing()
    try:
        return Tracing(_sdk_provider(settings, settings.otlp_endpoint, service))
    except ImportError as error:
        raise SettingsError(
            "TIDEGATE_OTLP_ENDPOINT: to send traces install the extra, as in "
            "pip install 'tidegate[otel]'"
        ) from error


def _sdk_provider(settings: TracingSettings, endpoint: str, service: str) -> _Provider:
    # Loaded only where it is used: the SDK is an extra, and costs a service 100 ms at its start.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415
        ParentBased,
        TraceIdRatioBased,
    )

    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": f"tidegate-{service}", "service.version": tidegate.__version__}
        ),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(traces_url(endpoint))))
    return provider


def traces_url(endpoint: str) -> str:
    """The collector's URL for traces: `endpoint` itself if it has a path, else with /v1/traces."""
    base = endpoint.rstrip("/")
    return endpoint if "/" in base.partition("://")[2] else f"{base}/v1/traces"


def _new_context() -> SpanContext:
    return SpanContext(
        trace_id=random.getrandbits(128) or 1, span_id=random.getrandbits(64) or 1, is_remote=False
    )
