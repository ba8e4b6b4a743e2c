"""Providers for the model client: the simulator, and a server that sends whatever a test says.

async with simulated() as provider:
    result, deltas = await provider.ask(tokens=5)

async with scripted([b"data: {...}", ...]) as provider: ...
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from tests.support.simulated import simulator
from tests.support.worker_world import MESSAGES
from tidegate.chassis.component import Deadline
from tidegate.contracts.events import Delta
from tidegate.providers.chat_stream import ChatClient, ChatResult
from tidegate.providers.embeddings import EmbeddingsClient, EmbeddingsResult
from tidegate.providers.endpoint import Endpoint
from tidegate.providers.routes import Target, Timeouts

HEADERS = {"x-tidegate-job": "job_1", "x-request-id": "job_1-1", "traceparent": "00-a-b-01"}
# Long enough never to matter where a test does not mean it.
PATIENT = Timeouts(connect=10, first_token=20, between_tokens=20, total=40)
_CONCURRENCY = 8


class Provider:
    """A provider at a URL, and a client of it."""

    def __init__(self, url: str, timeouts: Timeouts = PATIENT, **route: Any) -> None:
        self.url = url
        given: dict[str, Any] = {"model": "sim-small", "provider": "simulator"}
        self.target = Target(base_url=f"{url}/v1", timeouts=timeouts, **(given | route))
        self.endpoint = Endpoint(
            self.target.base_url, connect=timeouts.connect, concurrency=_CONCURRENCY
        )
        self.client = ChatClient(self.endpoint)
        self.embeddings = EmbeddingsClient(self.endpoint)
        self.deltas: list[Delta] = []
        self.connections = 0

    async def ask(
        self, *, tokens: int = 5, headers: Mapping[str, str] = HEADERS, **fields: Any
    ) -> ChatResult:
        """One call; what came of it so far is in `deltas`."""
        body = {"model": "sim-1", "messages": MESSAGES, "max_tokens": tokens} | fields
        return await self.client.stream(
            self.target, msgspec.json.encode(body), self.deltas.append, headers=headers
        )

    async def embed(self, *, headers: Mapping[str, str] = HEADERS, **body: Any) -> EmbeddingsResult:
        """One call for embeddings."""
        return await self.embeddings.create(self.target, msgspec.json.encode(body), headers=headers)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(delta.data for delta in self.deltas if delta.kind == "text")

    async def until_deltas(self, number: int) -> None:
        """Returns when so many deltas have come."""
        while len(self.deltas) < number:
            await asyncio.sleep(0.002)

    async def stats(self, **query: str) -> dict[str, Any]:
        """What the simulator saw."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/stats", params=query) as response,
        ):
            stats: dict[str, Any] = await response.json()
            return stats


@contextlib.asynccontextmanager
async def simulated(
    timeouts: Timeouts = PATIENT, *, route: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Provider]:
    """The simulator in this process; `settings` are its own, without their prefix."""
    server = simulator(**settings)
    await server.start()
    provider = Provider(f"http://{server.address}", timeouts, **(route or {}))
    try:
        yield provider
    finally:
        await provider.endpoint.close()
        await server.stop(Deadline(1))


Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(
    script: Script, timeouts: Timeouts = PATIENT, **route: Any
) -> AsyncIterator[Provider]:
    """A server that reads each request and lets `script` answer its head on the raw connection."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        provider.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_content_length(head))
                await script(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = Provider(f"http://127.0.0.1:{port}", timeouts, **route)
    try:
        yield provider
    finally:
        await provider.endpoint.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _content_length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next(int(value) for name, _, value in lines if name == b"content-length")


def answering(*parts: bytes, content_type: str = "text/event-stream") -> Script:
    """A script that sends the parts, each in a packet of its own, and ends the body properly."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
        )
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return script


def text_chunk(text: str, finish_reason: str | None = None) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"
