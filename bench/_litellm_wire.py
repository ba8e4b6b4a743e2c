"""The leanest client of the Chat Completions API: kept connections on which bytes are only noted.

While a load runs, a wire does no more with what arrives than to note the moment and look for the
end of the response. What the bytes say is read afterwards, by `read`.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

import msgspec

from bench._http_wire import HOST, dechunked, deltas, post

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
# No event ends like this, for each of them ends with two line feeds.
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_FIRST_TEXT: Final = re.compile(rb'"content": ?"[^"]')


def body_of(question: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    """A Chat Completions request, the same for every side."""
    body: dict[str, Any] = {
        "model": "sim-small",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
    }
    return body | {"stream": True} if stream else body


@dataclass(slots=True)
class Exchange:
    """A request that was due at some moment, and what came for it: pieces with their moments."""

    body: dict[str, Any]
    due: float
    sent: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    error: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def last(self) -> float:
        """When the end came."""
        return self.pieces[-1][0]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bytes of an exchange say; `first`: the moment of the first text."""

    status: int
    text: str
    chunks: int
    first: float
    complete: bool


class Wire(asyncio.Protocol):
    """One kept connection, one exchange at a time."""

    def __init__(self, idle: list["Wire"]) -> None:
        self._idle = idle
        self._exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, exchange: Exchange) -> None:
        """Sends; the exchange's event is set at its end."""
        self._exchange, self._bytes, self._tail = exchange, 0, b""
        self._whole_at: int | None = None
        self._chunked = False
        exchange.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        exchange.pieces.append((time.perf_counter(), data))
        self._bytes += len(data)
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if self._whole_at is None and not self._chunked:
            self._read_head(b"".join(piece for _, piece in exchange.pieces))
        if self._is_whole():
            self._exchange = None
            self._idle.append(self)
            exchange.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        if self._exchange is not None:
            self._exchange.error = "connection lost"
            self._exchange.ended.set()

    def _read_head(self, data: bytes) -> None:
        head, mark, _ = data.partition(b"\r\n\r\n")
        if not mark:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length is not None:
            self._whole_at = len(head) + len(mark) + int(length[1])
        self._chunked = _CHUNKED.search(head + b"\r\n") is not None

    def _is_whole(self) -> bool:
        if self._chunked:
            return self._tail == _LAST_CHUNK
        return self._whole_at is not None and self._bytes >= self._whole_at


class Wires:
    """Kept connections to one side; another one is opened where none is idle."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._idle: list[Wire] = []
        self._all: list[Wire] = []

    async def open(self, number: int) -> None:
        """Connects so many at once."""
        self._idle += await asyncio.gather(*(self._connect() for _ in range(number)))

    async def ask(self, exchange: Exchange) -> None:
        """Sends the exchange's request, and returns at the end of what comes."""
        wire = self._idle.pop() if self._idle else await self._connect()
        content = msgspec.json.encode(exchange.body)
        wire.ask(post("/v1/chat/completions", self._port, self._key, content), exchange)
        await exchange.ended.wait()

    def close(self) -> None:
        """Ends all connections."""
        for wire in self._all:
            wire.transport.close()

    async def _connect(self) -> Wire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(partial(Wire, self._idle), HOST, self._port)
        self._all.append(wire)
        return wire


def read(exchange: Exchange) -> Reply:
    """Reads an exchange that ended without an error of the connection's."""
    raw = b"".join(piece for _, piece in exchange.pieces)
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head[9:12])
    if _CHUNKED.search(head + b"\r\n"):
        body = dechunked(body)
    first = _moment_of_first_text(exchange, raw, len(head))
    if status != 200:
        return Reply(status, body[:200].decode(errors="replace"), 0, first, complete=False)
    if exchange.body.get("stream"):
        texts, complete = deltas(body)
        return Reply(status, "".join(texts), len(texts), first, complete)
    text = msgspec.json.decode(body)["choices"][0]["message"]["content"]
    return Reply(status, text, 1, first, complete=True)


def _moment_of_first_text(exchange: Exchange, raw: bytes, begin: int) -> float:
    found = _FIRST_TEXT.search(raw, begin)
    end = found.end() if found else len(raw)
    for moment, piece in exchange.pieces:
        end -= len(piece)
        if end <= 0:
            return moment
    return exchange.last
