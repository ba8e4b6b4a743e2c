"""Without these traces would be lost on their way, or hold up the end of a process."""

import asyncio
import sys

import pytest
from aiohttp import web

from tests.support.processes import python_process
from tidegate.chassis.component import Deadline
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.settings import ListenAddress, SettingsError, TracingSettings
from tidegate.chassis.tracing import configure_tracing


async def test_spans_reach_a_collector_at_the_latest_when_the_process_ends() -> None:
    trace_service = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs tidegate[otel]"
    )
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        received.put_nowait(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    collector = HttpServer("collector", app, ListenAddress("127.0.0.1:0"))
    await collector.start()
    settings = TracingSettings(otlp_endpoint=f"http://{collector.address}")
    tracing = configure_tracing(settings, service="gateway")
    with tracing.span("create", attributes={"queue": "default"}):
        pass
    await tracing.stop(Deadline(5))
    sent = trace_service.ExportTraceServiceRequest.FromString(received.get_nowait())
    (resource,) = sent.resource_spans
    names = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert names["service.name"] == "tidegate-gateway"
    assert resource.scope_spans[0].spans[0].name == "create"
    await collector.stop(Deadline(1))


def test_a_missing_extra_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"TIDEGATE_OTLP_ENDPOINT: .*tidegate\[otel\]"):
        configure_tracing(TracingSettings(otlp_endpoint="http://127.0.0.1:1"), service="gateway")


def test_without_an_endpoint_the_sdk_is_not_even_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert configure_tracing(TracingSettings(), service="gateway").name == "tracing"


SILENT_COLLECTOR = """
import asyncio
from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import TracingSettings, load_settings
from tidegate.chassis.tracing import configure_tracing

async def main():
    tracing = configure_tracing(load_settings(TracingSettings), service="test")
    with tracing.span("create"):
        pass
    try:
        async with asyncio.timeout(0.2):
            await tracing.stop(Deadline(0.2))
    except TimeoutError:
        print("gave up", flush=True)

asyncio.run(main())
"""


async def test_a_collector_that_never_answers_does_not_keep_the_process_alive() -> None:
    pytest.importorskip("opentelemetry.sdk.trace", reason="needs tidegate[otel]")
    hold = asyncio.Event()

    async def swallow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as collector:
        port = collector.sockets[0].getsockname()[1]
        environ = {"TIDEGATE_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        async with python_process(SILENT_COLLECTOR, environ) as process:
            output, errors = await process.communicate()
            assert (process.returncode, output) == (0, b"gave up\n"), errors
        hold.set()
