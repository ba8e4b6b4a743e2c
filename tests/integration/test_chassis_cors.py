"""Cross-origin requests as browsers make them: without these headers a page sees a blank wall."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tidegate.chassis.component import Deadline
from tidegate.chassis.http_cors import Origins, install_cors
from tidegate.chassis.http_errors import install_http_errors
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.settings import ListenAddress
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import Unauthenticated
from tidegate.gateway.openai.provenance import AGE_HEADER, CACHE_HEADER, SCORE_HEADER

PAGE = "https://app.example"
EVIL = "https://evil.example"


class Site:
    """A server with an answer, a refusal and a stream, and a browser's way to ask it."""

    def __init__(self, origins: Origins) -> None:
        self.calls = 0
        app = web.Application(client_max_size=100)
        app.router.add_get("/things", self.answer, allow_head=False)
        app.router.add_post("/things", self.answer)
        app.router.add_get("/closed", self.refuse)
        app.router.add_get("/stream", self.stream)
        install_cors(app, origins)
        install_http_errors(app, ChassisMetrics(make_registry("test")), Tracing())
        self.server = HttpServer("http", app, ListenAddress("127.0.0.1:0"))

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        self.calls += 1
        return web.Response(text="done")

    async def refuse(self, _: web.Request) -> web.Response:
        raise Unauthenticated("an API key is needed")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data")
        return response

    async def ask(
        self, method: str, path: str, origin: str | None = PAGE, **more: str
    ) -> tuple[int, Mapping[str, str]]:
        headers = {} if origin is None else {"Origin": origin}
        named = {name.replace("_", "-"): value for name, value in more.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"http://{self.server.address}{path}", headers=headers | named
            ) as answer,
        ):
            return answer.status, answer.headers

    async def preflight(
        self, path: str, method: str, origin: str | None = PAGE, headers: str = "authorization"
    ) -> tuple[int, Mapping[str, str]]:
        return await self.ask(
            "OPTIONS",
            path,
            origin,
            Access_Control_Request_Method=method,
            Access_Control_Request_Headers=headers,
        )


@asynccontextmanager
async def site(origins: Origins) -> AsyncIterator[Site]:
    it = Site(origins)
    await it.server.start()
    try:
        yield it
    finally:
        await it.server.stop(Deadline(0.2))


@pytest.fixture
async def named() -> AsyncIterator[Site]:
    """A server that one page may call."""
    async with site(Origins([PAGE])) as it:
        yield it


async def test_a_preflight_says_what_a_page_may_send(named: Site) -> None:
    asked = "authorization,content-type, idempotency-key,last-event-id,x-stainless-retry-count"
    status, headers = await named.preflight("/things", "POST", headers=asked)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert headers["Access-Control-Allow-Headers"].replace(" ", "") == asked.replace(" ", "")
    assert headers["Access-Control-Max-Age"] == "600"
    assert headers["Vary"] == "Origin"
    assert "x-request-id" in headers
    assert "Access-Control-Allow-Credentials" not in headers
    assert named.calls == 0


async def test_a_header_that_is_no_name_is_not_repeated(named: Site) -> None:
    status, headers = await named.preflight("/things", "GET", headers="a b,<script>, ,x-ok")
    assert (status, headers["Access-Control-Allow-Headers"]) == (204, "x-ok")
    status, headers = await named.preflight("/things", "GET", headers="")
    assert status == 204
    assert "Access-Control-Allow-Headers" not in headers


async def test_a_preflight_of_another_page_is_refused(named: Site) -> None:
    status, headers = await named.preflight("/things", "POST", EVIL)
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert headers["Vary"] == "Origin"


async def test_what_is_no_preflight_is_answered_as_ever(named: Site) -> None:
    assert (await named.ask("OPTIONS", "/things"))[0] == 405
    assert (await named.ask("OPTIONS", "/things", None, Access_Control_Request_Method="GET"))[
        0
    ] == 405
    status, headers = await named.preflight("/nowhere", "GET")
    assert (status, headers["Access-Control-Allow-Origin"]) == (404, PAGE)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/things", 200),
        ("POST", "/things", 200),
        ("GET", "/stream", 200),
        ("GET", "/closed", 401),
        ("GET", "/nowhere", 404),
        ("DELETE", "/things", 405),
    ],
)
async def test_a_page_can_read_every_answer_errors_and_streams_too(
    named: Site, method: str, path: str, status: int
) -> None:
    got, headers = await named.ask(method, path)
    assert got == status
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Vary"] == "Origin"
    exposed = headers["Access-Control-Expose-Headers"].lower()
    for name in ("x-request-id", "x-tidegate-job", "retry-after", "location"):
        assert name in exposed
    for name in (CACHE_HEADER, SCORE_HEADER, AGE_HEADER):
        assert name in exposed.split(", ")
    got, headers = await named.ask(method, path, EVIL)
    assert got == status, "what a page may read is for its browser to enforce"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Vary"] == "Origin", "a cache must not hand this answer to another page"


async def test_where_any_page_may_call_answers_may_be_shared() -> None:
    async with site(Origins(["*"])) as it:
        for origin in (PAGE, "null", None):
            _, headers = await it.ask("GET", "/things", origin)
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Vary" not in headers
        status, headers = await it.preflight("/things", "POST", "null")
        assert (status, headers["Access-Control-Allow-Origin"]) == (204, "*")


async def test_in_development_a_foreign_name_that_leads_here_is_refused() -> None:
    """A page whose own name leads to 127.0.0.1 is of the same origin: it sends none with a GET."""
    async with site(Origins(development=True)) as it:
        for host in ("localhost:8080", "127.0.0.1", "127.8.8.8:1", "[::1]:1", "LOCALHOST"):
            assert (await it.ask("GET", "/things", None, Host=host))[0] == 200
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "0.0.0.0:80"):
            assert (await it.ask("GET", "/things", None, Host=host))[0] == 403
    async with site(Origins([PAGE])) as it:
        assert (await it.ask("GET", "/things", None, Host="api.example"))[0] == 200


async def test_where_no_page_may_call_nothing_is_said() -> None:
    async with site(Origins()) as it:
        assert (await it.preflight("/things", "POST"))[0] == 405
        _, headers = await it.ask("GET", "/things")
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert "Vary" not in headers
