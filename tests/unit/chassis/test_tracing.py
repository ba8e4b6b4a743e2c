"""Without these the logs of one job could not be joined over the services it passed."""

import asyncio

import pytest
import structlog
from opentelemetry.trace import get_current_span

from tidegate.chassis.settings import TracingSettings
from tidegate.chassis.tracing import (
    Tracing,
    configure_tracing,
    extract,
    inject,
    trace_id_of,
    trace_metadata,
    traces_url,
)

NO_TRACE = "0" * 32
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def current_trace() -> str:
    return trace_id_of(get_current_span())


def test_a_callers_trace_goes_on_without_a_collector() -> None:
    tracing = configure_tracing(TracingSettings(), service="gateway")
    with tracing.span("create", parent=extract(HEADERS)):
        assert current_trace() == TRACE
        carrier: dict[str, str] = {}
        inject(carrier)
        assert TRACE in carrier["traceparent"]
        assert dict(trace_metadata()) == carrier
        assert structlog.contextvars.get_contextvars()["trace"] == TRACE
    assert current_trace() == NO_TRACE
    assert trace_metadata() == ()


def test_without_a_caller_a_trace_begins_and_its_children_belong_to_it() -> None:
    tracing = Tracing()
    with tracing.span("outer"):
        outer = current_trace()
        with tracing.span("inner"):
            assert current_trace() == outer
    with tracing.span("another"):
        assert current_trace() != outer


def test_nonsense_in_the_headers_is_no_trace() -> None:
    with Tracing().span("create", parent=extract({"traceparent": "hello"})):
        assert current_trace() not in (NO_TRACE, TRACE)


async def test_two_tasks_do_not_share_a_trace() -> None:
    tracing = Tracing()

    async def one() -> str:
        with tracing.span("job"):
            await asyncio.sleep(0)
            return current_trace()

    first, second = await asyncio.gather(one(), one())
    assert first != second


def test_an_errors_text_is_not_put_into_the_span() -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    processors = pytest.importorskip("opentelemetry.sdk.trace.export")
    exporter = export.InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processors.SimpleSpanProcessor(exporter))
    with pytest.raises(ValueError, match="diary"), Tracing(provider).span("call"):
        raise ValueError("my diary")
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert "diary" not in span.to_json()


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_a_base_url_is_enough(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url
