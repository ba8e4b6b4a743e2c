"""Bare clients of bench/added_latency.py, so that what is measured is not the client library.

`Stream` asks the model server itself: one connection, one streamed answer. `Feed` is a WebSocket of
streaming that carries many jobs. Both note when the bytes of a token came.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

from bench._http_wire import dechunked, deltas
from bench._latency_calls import Call, decode
from bench._websocket import PING, TEXT, Socket, split

_TOKEN: Final = b'"delta":{"content":'
_END: Final = b"\r\n0\r\n\r\n"


class Stream(asyncio.Protocol):
    """POST /v1/chat/completions, streamed. `done` is called when the answer has ended."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done
        self._call: Call | None = None
        self._chunks: list[bytes] = []
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, call: Call, request: bytes) -> None:
        self._call = call
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._call is None or self._call.ended:
            return
        self._chunks.append(data)
        data = self._tail + data
        self._call.arrivals += [now] * data.count(_TOKEN)
        # A mark may come in two pieces; the tail is too short to hold a whole one twice.
        self._tail = data[1 - len(_TOKEN) :]
        if data.endswith(_END):
            self._call.ended = now
            self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._call is not None and not self._call.ended:
            self._call.problem, self._call.ended = "connection lost", time.perf_counter()
            self._done()

    def read(self) -> None:
        """Reads what came, for the call to be judged."""
        if self._call is not None:
            head, _, body = b"".join(self._chunks).partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                self._call.problem = self._call.problem or head[:100].decode()
            texts, _ = deltas(dechunked(body))
            self._call.parts += texts


class Feed(Socket):
    """One WebSocket for many jobs, whose events it hands to their calls as they come."""

    def __init__(self, done: Callable[[], None]) -> None:
        super().__init__()
        self._done = done
        self._calls: dict[str, Call] = {}
        self._rest = b""

    def follow(self, job_id: str, call: Call) -> None:
        self._calls[job_id] = call
        self.subscribe(job_id, 0)

    def take(self, data: bytes) -> None:
        now = time.perf_counter()
        frames, self._rest = split(self._rest + data)
        for kind, payload in frames:
            if kind == TEXT:
                self._take(payload, now)
            elif kind == PING:
                self.pong(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for call in self._calls.values():
            self._fail(call, "connection lost")

    def _take(self, payload: bytes, now: float) -> None:
        event = decode(payload)
        call = self._calls[event.job_id]
        if event.type == "error":
            self._fail(call, payload[:200].decode())
        elif event.type != "ended" and call.take(event, now):
            self._done()

    def _fail(self, call: Call, problem: str) -> None:
        if not call.ended:
            call.problem, call.ended = problem, time.perf_counter()
            self._done()
