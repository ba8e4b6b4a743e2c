"""Without these an HTTP client would meet errors in forms it cannot read, or none at all."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from opentelemetry.trace import get_current_span

from tidegate.chassis import http_server
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health, serve_health
from tidegate.chassis.http_errors import install_http_errors, read_json
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.settings import HealthSettings, ListenAddress
from tidegate.chassis.tasks import ServiceFault
from tidegate.chassis.tracing import Tracing, trace_id_of
from tidegate.contracts.errors import ResourceExhausted

SECRET = "my secret diary"
LARGE = 32 * 2**20
ANY_PORT = ListenAddress("127.0.0.1:0")
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Message(msgspec.Struct):
    role: str


class Body(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[Message]


class Service:
    """Handlers with every way to fail, and a client."""

    connection: asyncio.Transport  # Of the last large answer.

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.registry = make_registry("test")
        app = web.Application(client_max_size=1000)
        app.router.add_post("/jobs", self.create)
        app.router.add_get("/full", self.full)
        app.router.add_get("/crash", self.crash)
        app.router.add_get("/cut", self.cut)
        app.router.add_get("/wait/{id}", self.wait)
        app.router.add_get("/large", self.large)
        install_http_errors(app, ChassisMetrics(self.registry), Tracing())
        self.server = HttpServer("http", app, ANY_PORT)

    async def create(self, request: web.Request) -> web.Response:
        await read_json(request, msgspec.json.Decoder(Body))
        return web.Response(text=trace_id_of(get_current_span()))

    async def full(self, _: web.Request) -> web.Response:
        raise ResourceExhausted("Full.", retry_after=7.5)

    async def crash(self, _: web.Request) -> web.Response:
        raise ValueError(SECRET)

    async def large(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        self.connection = request.transport
        return web.Response(body=bytes(LARGE))

    async def cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        raise ValueError(SECRET)

    async def wait(self, _: web.Request) -> web.Response:
        self.entered.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return web.Response(text="done")

    def url(self, path: str) -> str:
        return f"http://{self.server.address}{path}"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A server alone with its test."""
    it = Service()
    await it.server.start()
    yield it
    await it.server.stop(Deadline(0.2))


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A real HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@asynccontextmanager
async def refused(
    client: aiohttp.ClientSession, method: str, url: str, status: int, **options: Any
) -> AsyncIterator[tuple[dict[str, Any], Any]]:
    """The error in the body, and the headers; checked for what all of them have."""
    async with client.request(method, url, **options) as response:
        assert response.status == status
        assert response.content_type == "application/json"
        assert response.headers["x-request-id"]
        body = await response.json()
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        yield body["error"], response.headers


async def test_a_good_body_is_taken(service: Service, client: aiohttp.ClientSession) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-id": "mine-1"}
    body = {"messages": [{"role": "user"}]}
    async with client.post(service.url("/jobs"), json=body, headers=headers) as response:
        assert response.status == 200
        assert await response.text() == TRACE
        assert response.headers["x-request-id"] == "mine-1"


async def test_a_request_id_that_could_forge_log_lines_is_replaced(
    service: Service, client: aiohttp.ClientSession
) -> None:
    headers = {"x-request-id": "a b;c"}
    async with refused(client, "GET", service.url("/full"), 429, headers=headers) as (_, answered):
        assert answered["x-request-id"] != "a b;c"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"\xff", None),
        (b"[]", None),
        (b"{}", "messages"),
        (b'{"messages": [{"role": 1}]}', "messages[0].role"),
        (b'{"messages": [], "nonsense": 1}', "nonsense"),
    ],
)
async def test_a_bad_body_is_a_400_that_names_the_field(
    service: Service, client: aiohttp.ClientSession, body: bytes, param: str | None
) -> None:
    async with refused(client, "POST", service.url("/jobs"), 400, data=body) as (error, headers):
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_bound_is_a_413_that_names_the_bound(
    service: Service, client: aiohttp.ClientSession, chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 2000

    data: Any = pieces() if chunked else b"x" * 2000
    async with refused(client, "POST", service.url("/jobs"), 413, data=data) as (error, _):
        assert "1000 bytes" in error["message"]
        assert error["code"] == "request_too_large"


async def test_unknown_routes_and_methods_have_the_same_body(
    service: Service, client: aiohttp.ClientSession
) -> None:
    async with refused(client, "GET", service.url("/nothing"), 404) as (error, _):
        assert error["code"] == "route_not_found"
    async with refused(client, "DELETE", service.url("/full"), 405) as (error, headers):
        assert error["code"] == "method_not_allowed"
        assert "GET" in headers["Allow"]


async def test_a_full_queue_says_when_to_come_back(
    service: Service, client: aiohttp.ClientSession
) -> None:
    async with refused(client, "GET", service.url("/full"), 429) as (error, headers):
        assert headers["Retry-After"] == "8"
        assert "x-should-retry" not in headers
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")


async def test_a_crash_shows_a_number_and_nothing_else(
    service: Service, client: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    async with refused(client, "GET", service.url("/crash"), 500) as (error, headers):
        assert SECRET not in json.dumps(error)
        assert SECRET not in str(headers)
        number = error["message"].partition("incident ")[2].rstrip(").")
    assert number in capsys.readouterr().out
    assert service.registry.get_sample_value("tidegate_incidents_total", {"surface": "http"}) == 1


async def test_a_stream_that_fails_is_cut_and_not_ended(
    service: Service, client: aiohttp.ClientSession
) -> None:
    """A clean end would make half an answer look like a whole one."""
    async with client.get(service.url("/cut")) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_routes_are_measured_without_their_ids(
    service: Service, client: aiohttp.ClientSession
) -> None:
    service.release.set()
    async with client.get(service.url("/wait/42")):
        pass
    async with client.get(service.url("/secret-path")):
        pass
    await service.server.stop(Deadline(5))  # the answer is on its way before it is measured
    counted = {
        tuple(sample.labels.values())
        for family in service.registry.collect()
        for sample in family.samples
        if sample.name == "tidegate_http_server_seconds_count"
    }
    assert counted == {("GET", "/wait/{id}", "200"), ("GET", "unknown", "404")}


async def test_a_client_that_goes_cancels_its_handler(
    service: Service, client: aiohttp.ClientSession
) -> None:
    asking = asyncio.create_task(client.get(service.url("/wait/1")).__aenter__())
    await service.entered.wait()
    asking.cancel()
    await service.cancelled.wait()


async def test_a_request_in_flight_may_end_in_the_drain(
    service: Service, client: aiohttp.ClientSession
) -> None:
    asking = asyncio.create_task(client.get(service.url("/wait/1")).__aenter__())
    await service.entered.wait()
    stopping = asyncio.create_task(service.server.stop(Deadline(30)))
    await asyncio.sleep(0)
    service.release.set()
    async with await asking as response:
        assert await response.text() == "done"
    await stopping


async def test_a_request_that_does_not_end_is_cancelled_in_time(
    service: Service, client: aiohttp.ClientSession
) -> None:
    asking = asyncio.create_task(client.get(service.url("/wait/1")).__aenter__())
    await service.entered.wait()
    await service.server.stop(Deadline(0.2))
    assert service.cancelled.is_set()
    with pytest.raises(aiohttp.ClientError):
        await asking


async def test_a_taken_port_is_a_fault_with_the_address(service: Service) -> None:
    second = HttpServer("second", web.Application(), service.server.address)
    with pytest.raises(ServiceFault, match=f"cannot listen on {service.server.address}"):
        await second.start()
    await second.stop(Deadline(1))


async def test_probes_and_metrics(client: aiohttp.ClientSession) -> None:
    health = Health()
    registry = make_registry("worker")
    server = serve_health(HealthSettings(health_listen=ANY_PORT), health, registry)
    await server.start()
    base = f"http://{server.address}"
    health.set("nats", False, "disconnected")
    async with client.get(f"{base}/livez") as response:
        assert response.status == 200
    async with client.get(f"{base}/readyz") as response:
        assert response.status == 503
        body = await response.json()
        assert body == {"ready": False, "failing": {"nats": "disconnected"}}
    health.set("nats", True)
    async with client.get(f"{base}/readyz") as response:
        assert response.status == 200
        assert await response.json() == {"ready": True, "failing": {}}
    async with client.get(f"{base}/metrics") as response:
        assert "tidegate_build_info" in await response.text()
        assert response.content_type == "text/plain"
    await server.stop(Deadline(1))


async def test_who_does_not_read_its_answer_is_cut_off(
    service: Service, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the whole answer would stay in memory for as long as the client likes."""
    async with client.get(service.url("/large")) as response:
        assert len(await response.read()) == LARGE
    monkeypatch.setattr(http_server, "_SEND_SECONDS", 0.2)
    monkeypatch.setattr(http_server, "_SLOWEST_READER", 2**40)
    address = service.server.address
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=2**10)
    try:
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)
        while not service.connection.is_closing():
            await asyncio.sleep(0.02)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(LARGE)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
