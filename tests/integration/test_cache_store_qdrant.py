"""A Qdrant server that is away, slow, contested or refuses: no lookup fails, and nothing is quoted.

The server is a stand-in that says what Qdrant's REST interface says; what the store asks of a real
one is covered by the contract of all stores.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.cache_stores import DIMENSION, NOW, entry, qdrant_store, vector
from tidegate.cache.entries import Selection, StoreError
from tidegate.cache.stores.payload import Space
from tidegate.cache.stores.qdrant import QdrantStore
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault, TaskGuard


@dataclass
class StandIn:
    """What was asked of a server, and what it answers: a status, or nothing ever."""

    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    exists: bool = False
    statuses: dict[str, int] = field(default_factory=dict)
    silent: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, body))
        self.headers.append(request.headers.get("api-key"))
        if self.silent:
            await asyncio.Event().wait()
        status = self.statuses.get(f"{request.method} {request.path.rsplit('/', 1)[-1]}", 200)
        if status != 200:
            return web.json_response({"status": {"error": f"refused {body}"}}, status=status)
        if request.path.endswith("/exists"):
            return web.json_response({"result": {"exists": self.exists}, "time": 0.0})
        result: Any = {"operation_id": 1, "status": "completed"}
        if request.method == "PUT" and request.path.count("/") == 2:
            self.exists, result = True, True
        return web.json_response({"result": result, "status": "ok", "time": 0.0})

    def bodies(self, method: str, end: str) -> list[Any]:
        return [body for asked, path, body in self.asked if asked == method and path.endswith(end)]


@dataclass
class World:
    """A store on a stand-in."""

    server: StandIn
    store: QdrantStore


@contextlib.asynccontextmanager
async def world(server: StandIn, **options: Any) -> AsyncIterator[World]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(application) as listening:
        guard = TaskGuard()
        url = f"http://127.0.0.1:{listening.port}"
        store = QdrantStore(url, lambda: Space("e5", DIMENSION), guard, **options)
        await store.start()
        yield World(server, store)
        await store.stop(Deadline(1))
        await guard.cancel_all()
        assert guard.fault is None


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_the_collection_is_made_for_searches_within_a_scope() -> None:
    async with world(StandIn()) as made:
        (collection,) = made.server.bodies("PUT", f"/tidegate-cache-e5-{DIMENSION}")
        indexes = made.server.bodies("PUT", "/index")
    assert collection["vectors"]["question"]["size"] == DIMENSION
    assert collection["vectors"]["question"]["distance"] == "Cosine"
    assert collection["hnsw_config"]["m"] == 0
    assert collection["hnsw_config"]["payload_m"] == 16
    by_field = {each["field_name"]: each["field_schema"] for each in indexes}
    assert by_field.keys() == {"scope", "tenant", "model", "job_id", "created_ms", "expires_ms"}
    assert by_field["scope"]["is_tenant"] is True
    assert by_field["expires_ms"]["type"] == "integer"


async def test_a_collection_that_is_there_is_left_as_it_is() -> None:
    async with world(StandIn(exists=True)) as made:
        assert made.server.bodies("PUT", f"/tidegate-cache-e5-{DIMENSION}") == []
        assert len(made.server.bodies("PUT", "/index")) == 6


async def test_another_cache_that_makes_it_at_the_same_time_is_no_fault() -> None:
    name = f"PUT tidegate-cache-e5-{DIMENSION}"
    async with world(StandIn(statuses={name: 409})) as made:
        assert len(made.server.bodies("PUT", "/index")) == 6


async def test_searches_are_filtered_by_tenant_scope_and_expiry() -> None:
    server = StandIn(statuses={"POST query": 503})
    async with world(server) as made:
        with pytest.raises(StoreError):
            await made.store.search(vector(1), tenant="acme", scope="abc", now_ms=NOW, limit=4)
        (asked,) = server.bodies("POST", "/query")
    scope, expiry = asked["filter"]["must"]
    assert (scope["key"], scope["match"]["value"]) == ("scope", "acme/abc")
    assert (expiry["key"], expiry["range"]["gt"]) == ("expires_ms", NOW)
    assert asked["params"]["quantization"]["rescore"] is True


async def test_the_key_is_sent_and_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    with pytest.warns(UserWarning, match="insecure"):
        async with world(StandIn(), api_key_file=tmp_path / "key") as made:
            assert set(made.server.headers) == {"s3cret"}


async def test_a_key_that_cannot_be_read_is_a_clear_fault(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match="nokey"):
        async with world(StandIn(), api_key_file=tmp_path / "nokey"):
            pass


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
async def test_a_refusal_is_an_error_that_quotes_nothing(status: int) -> None:
    paths = ["POST query", "POST points", "PUT points", "POST count", "POST delete"]
    async with world(StandIn(statuses=dict.fromkeys(paths, status))) as made:
        store = made.store
        for attempt in (
            store.get("acme", entry(1).id, NOW),
            store.put(entry(1, text="private"), vector(1)),
            store.remove(Selection("acme", job_id="private")),
            store.count("private"),
            store.search(vector(1), tenant="private", scope="s", now_ms=NOW, limit=1),
        ):
            with pytest.raises(StoreError) as caught:
                await attempt
            assert "private" not in f"{caught.value}{caught.value.__cause__}"


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with world(StandIn(exists=True), call_seconds=0.05) as made:
        made.server.silent = True
        with pytest.raises(StoreError, match=r"within 0\.05 s"):
            await made.store.get("acme", entry(1).id, NOW)


async def test_a_server_that_is_away_at_the_start_is_waited_for(free_port: int) -> None:
    """The cache serves misses until it is there."""
    guard, server = TaskGuard(), StandIn()
    store = QdrantStore(f"http://127.0.0.1:{free_port}", lambda: Space("e5", DIMENSION), guard)
    await store.start()
    with pytest.raises(StoreError):
        await store.count()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(application, port=free_port):
        await until(lambda: server.exists and server.bodies("POST", "/delete"))
        await store.stop(Deadline(1))
    await guard.cancel_all()
    assert guard.fault is None


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local")
async def test_what_has_expired_is_swept() -> None:
    async with qdrant_store(":memory:") as store:
        await store.put(entry(1, expires_ms=NOW), None)
        await store.put(entry(2, expires_ms=NOW + 1), None)
        await store.sweep()
        assert await store.count() == 1
        assert await store.get("acme", entry(2).id, NOW) is not None


async def test_what_is_not_open_says_so() -> None:
    store = QdrantStore(":memory:", lambda: Space("e5", DIMENSION), TaskGuard())
    with pytest.raises(StoreError, match="not open"):
        await store.count()
