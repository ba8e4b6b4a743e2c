"""A cache on a real NATS server, with real gRPC clients before it.

    async with CacheWorld(nats_server, tmp_path) as world:
        await world.store("What does it cost?", "Ten dollars.")
        found = await world.lookup("what does it cost")

`fleet` carries the fleet's key as workers do, `acme` and `stranger` the API keys of two tenants.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.cache_parts import MODEL, TENANT, chat
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tidegate.cache.app import Cache, Outside, make_cache
from tidegate.cache.settings import CacheSettings
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.keyring import new_key
from tidegate.chassis.settings import ListenAddress
from tidegate.contracts.jobs import new_job_id
from tidegate.v1 import cache_pb2 as pb
from tidegate.v1.cache_pb2_grpc import CacheServiceStub

# Tests do not assert times: a busy machine must not turn a lookup into a miss.
PATIENT = 10.0


class CacheClient:
    """A gRPC client of a cache at an address; `authorization` None: it brings none."""

    def __init__(self, address: str, authorization: str | None) -> None:
        self._channel = make_channel(address)
        self._metadata = () if authorization is None else (("authorization", authorization),)
        self._stub: Any = CacheServiceStub(self._channel)

    async def call(self, method: str, request: Any) -> Any:
        """One call. Raises grpc.aio.AioRpcError."""
        return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._channel.close()


class CacheWorld:
    """`settings` are the cache's, some of a test's own; `now` moves its clock, in seconds."""

    cache: Cache
    fleet: CacheClient
    acme: CacheClient
    stranger: CacheClient
    nobody: CacheClient

    def __init__(
        self, nats: NatsServer, directory: Path, *, outside: Outside | None = None, **settings: Any
    ) -> None:
        self.nats = nats
        self.directory = directory
        self._outside = outside
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._running = contextlib.AsyncExitStack()
        self.key_file = directory / "cache-key"
        self.key_file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        self.keys_file = directory / "keys"
        self.keys = {name: new_key(self.keys_file, name) for name in (TENANT, "stranger")}

    def settings(self, **settings: Any) -> CacheSettings:
        """The world's settings, with some of a test's own."""
        anywhere = ListenAddress("127.0.0.1:0")
        given: dict[str, Any] = {
            "nats_url": self.nats.url,
            "keys_file": self.keys_file,
            "cache_key_file": self.key_file,
            "cache_directory": self.directory / "cache",
            "cache_deadline_seconds": PATIENT,
            "cache_listen": anywhere,
            "health_listen": anywhere,
            "drain_seconds": 5.0,
        }
        return CacheSettings(**(given | self._settings | settings))

    async def __aenter__(self) -> Self:
        try:
            # What the gateway does when it starts.
            await self._stack.enter_async_context(LogWorld(self.nats.url))
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()
        await self._stack.aclose()

    async def start(self, **settings: Any) -> None:
        """Starts the cache, and its clients."""
        self._running = contextlib.AsyncExitStack()
        self.cache = make_cache(self.settings(**settings), self._outside)
        await self._running.enter_async_context(self.cache.lifecycle)
        self.fleet = await self._client(FleetKey.of_file(self.key_file).authorization)
        self.acme = await self._client(f"Bearer {self.keys[TENANT]}")
        self.stranger = await self._client(f"Bearer {self.keys['stranger']}")
        self.nobody = await self._client(None)

    async def restart(self, **settings: Any) -> None:
        """Ends the cache in order, and starts it anew on what it kept."""
        await self._running.aclose()
        await self.start(**settings)

    async def lookup(
        self, *messages: Any, tenant: str = TENANT, model: str = MODEL, **fields: Any
    ) -> Any:
        """What a worker asks."""
        request = pb.LookupRequest(tenant=tenant, model=model, chat_json=chat(*messages, **fields))
        return await self.fleet.call("Lookup", request)

    async def store(
        self,
        question: str,
        text: str,
        *,
        tenant: str = TENANT,
        model: str = MODEL,
        job_id: str | None = None,
        shadow_of: str = "",
        **fields: Any,
    ) -> Any:
        """What a worker tells once a model has answered."""
        request = store_request(chat(question, **fields), text, job_id, model=model, tenant=tenant)
        request.shadow_of = shadow_of
        return await self.fleet.call("Store", request)

    async def stats(self, client: CacheClient | None = None) -> Any:
        """What a tenant is told."""
        return await (client or self.acme).call("GetStats", pb.GetStatsRequest())

    async def invalidate(self, client: CacheClient | None = None, **selection: Any) -> int:
        """Removes entries; how many."""
        request = pb.InvalidateRequest(**selection)
        return int((await (client or self.acme).call("Invalidate", request)).removed)

    async def metrics(self) -> str:
        """What /metrics says."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.cache.health.address}/metrics") as response,
        ):
            return await response.text()

    async def _client(self, authorization: str | None) -> CacheClient:
        client = CacheClient(str(self.cache.grpc.address), authorization)
        return await self._running.enter_async_context(client)


def store_request(
    body: bytes, text: str, job_id: str | None = None, *, model: str = MODEL, tenant: str = TENANT
) -> pb.StoreRequest:
    """A model's whole answer, as a worker hands it over."""
    answer = pb.CachedAnswer(
        text=text,
        finish_reason="stop",
        job_id=job_id or new_job_id(),
        upstream_model="upstream",
        input_tokens=3,
        output_tokens=5,
        cost_nano_usd=700,
    )
    return pb.StoreRequest(tenant=tenant, model=model, chat_json=body, answer=answer)


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the probe says yes; the test's time-out is the bound."""
    while not await probe():
        await asyncio.sleep(0.02)
