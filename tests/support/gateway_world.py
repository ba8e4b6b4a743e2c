"""A gateway in this process, on a real NATS server, with real gRPC and HTTP clients before it.

    async with GatewayWorld(nats_server, tmp_path) as world:
        job = await world.create()                      # HTTP, as tenant `acme`
        writer = await world.worker_plays(job["id"])    # what a worker would do
        await writer.seal(completed())

There is no worker: `worker_plays` writes a job's log as one would.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import grpc

from tests.support.log_world import LogPeer, connected
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.jetstream import NotSentError
from tidegate.chassis.keyring import new_key
from tidegate.chassis.settings import ListenAddress
from tidegate.contracts.events import CacheMark
from tidegate.contracts.jobs import QueuedJob, decode_job
from tidegate.contracts.subjects import JOBS_STREAM, job_anywhere
from tidegate.eventlog.writer import LogWriter
from tidegate.gateway.app import Gateway, make_gateway
from tidegate.gateway.settings import GatewaySettings
from tidegate.v1.jobs_pb2_grpc import JobServiceStub

T = TypeVar("T")

TENANT = "acme"
CHAT: dict[str, Any] = {"model": "sim-1", "messages": [{"role": "user", "content": "hi"}]}
ROUTES = """
providers:
  nobody: {base_url: "http://127.0.0.1:1/v1"}
models:
  sim-1: {queue: default, targets: [{provider: nobody}]}
  sim-2: {queue: other, targets: [{provider: nobody}]}
"""


class GatewayWorld:
    """`http` and `rpc` carry the key of tenant `acme`; `stranger` is another tenant's key."""

    http: aiohttp.ClientSession
    rpc: "Rpc"
    gateway: Gateway
    peer: LogPeer

    def __init__(self, nats: NatsServer, directory: Path, **settings: Any) -> None:
        self.nats = nats
        self._directory = directory
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self.keys_file = directory / "keys"
        self.key = new_key(self.keys_file, TENANT)
        self.stranger = new_key(self.keys_file, "stranger")

    async def __aenter__(self) -> Self:
        try:
            self.gateway = await self.start_gateway()
            self.peer = await self._stack.enter_async_context(connected(self.nats.url))
            self.http = await self._stack.enter_async_context(self.client(self.gateway, self.key))
            self.rpc = await self._stack.enter_async_context(Rpc(self.gateway, self.key))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def start_gateway(self, **settings: Any) -> Gateway:
        """One more gateway on the same NATS server; it ends with the world."""
        gateway = make_gateway(self.settings(**settings))
        await self._stack.enter_async_context(gateway.lifecycle)
        return gateway

    def settings(self, **settings: Any) -> GatewaySettings:
        """The world's settings, with some of a test's own."""
        routes = self._directory / "routes.yaml"
        routes.write_text(ROUTES, encoding="utf-8")
        anywhere = ListenAddress("127.0.0.1:0")
        given: dict[str, Any] = {
            "nats_url": self.nats.url,
            "routes_file": routes,
            "keys_file": self.keys_file,
            "http_listen": anywhere,
            "grpc_listen": anywhere,
            "health_listen": anywhere,
            "drain_seconds": 5.0,
        }
        return GatewaySettings(**(given | self._settings | settings))

    def client(self, gateway: Gateway, key: str | None) -> aiohttp.ClientSession:
        """An HTTP client of a gateway, with a key or without; the caller closes it."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return aiohttp.ClientSession(f"http://{gateway.http.address}", headers=headers)

    async def create(self, **body: Any) -> dict[str, Any]:
        """Creates a job over HTTP, which must be accepted."""
        async with self.http.post("/v1/jobs", json={"request": CHAT} | body) as response:
            job: dict[str, Any] = await response.json()
            assert response.status == 202, job
            return job

    async def get(self, job_id: str) -> dict[str, Any]:
        """The job over HTTP."""
        async with self.http.get(f"/v1/jobs/{job_id}") as response:
            job: dict[str, Any] = await response.json()
            assert response.status == 200, job
            return job

    async def queued(self, job_id: str) -> QueuedJob:
        """The job's message, as a worker is handed it."""
        stored = await self.peer.jetstream.last(JOBS_STREAM, job_anywhere("*", job_id))
        assert stored is not None
        return decode_job(stored.payload)

    async def worker_plays(self, job_id: str, cache: CacheMark | None = None) -> LogWriter:
        """Begins an attempt as a worker does that had this of the cache; the writer goes on."""
        return await self.peer.start_attempt(await self.queued(job_id), cache=cache)

    async def metric(self, line: str) -> bool:
        """Whether the gateway's metrics hold this line, such as `name 1.0`."""
        async with self.http.get(f"http://{self.gateway.health.address}/metrics") as response:
            return line in (await response.text()).splitlines()

    async def nothing_waits(self) -> bool:
        """Whether every queue is empty."""
        return await self.waiting() == 0

    async def waiting(self) -> int:
        """Messages in all queues; after an outage, once this test's own connection is back too."""
        while True:
            try:
                info = await self.peer.jetstream.api("STREAM.INFO.JOBS")
            except NotSentError:
                await asyncio.sleep(0.02)
            else:
                return int(info["state"]["messages"])


class Rpc:
    """A gRPC client of a gateway, with a key in its metadata or without."""

    def __init__(self, gateway: Gateway, key: str | None) -> None:
        self.channel = make_channel(str(gateway.grpc.address), max_message_bytes=64 * 1024 * 1024)
        self.metadata = () if key is None else (("authorization", f"Bearer {key}"),)
        self._stub: Any = JobServiceStub(self.channel)

    async def call(self, method: str, request: Any, **more: Any) -> Any:
        """One unary call. Raises grpc.aio.AioRpcError."""
        return await getattr(self._stub, method)(request, metadata=self.metadata, **more)

    def stream(self, request: Any, **more: Any) -> Any:
        """A StreamJobEvents call."""
        return self._stub.StreamJobEvents(request, metadata=self.metadata, **more)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.channel.close()


async def until(probe: Callable[[], Awaitable[T]]) -> T:
    """What the probe answers once that is true; the test's time-out is the bound."""
    while True:
        if found := await probe():
            return found
        await asyncio.sleep(0.02)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends in."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was not refused")
