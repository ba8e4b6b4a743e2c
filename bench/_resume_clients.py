"""The clients of bench/resume.py, in processes of their own: bare WebSockets that parse little.

`hold` and `idle` open sockets that stay; `resume` measures. Pings are answered, or the server would
cut an idle socket after 40 s.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from struct import Struct
from typing import Final, cast

import msgspec

from bench._child import Answer, serve
from bench._ticker import TICK, Ticker

_HOST: Final = "127.0.0.1"
_HANDSHAKE: Final = (
    b"GET /v1/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: tidegate.v1\r\nAuthorization: Bearer tidegate-dev\r\n\r\n"
)
_MARK: Final = b'"sequence":'
_REFUSAL: Final = b'"type":"error"'
_PING: Final = 0x89
_PONG: Final = 0x8A
_SETTLE: Final = 10.0  # seconds that late answers are waited for
_CONNECTING: Final = 50
_SUBSCRIBES_PER_SECOND: Final = 1_000
_medium = Struct("!H")
_long = Struct("!Q")


class Socket(asyncio.Protocol):
    """Counts the events that came, and keeps their bytes to be looked at later."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.open: asyncio.Future[None] = loop.create_future()
        self.enough: asyncio.Future[float] = loop.create_future()
        self.chunks: list[bytes] = []
        self.lost = False
        self.refused = False
        self._awaited = 0
        self._seen = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_HANDSHAKE)

    def subscribe(self, job_id: str, after: int, awaited: int) -> None:
        """Asks for a job's events; `enough` is done when so many (more) have come."""
        self._awaited += awaited
        self.transport.write(
            _masked(
                0x81,
                b'{"type":"subscribe","job_id":"%b","after_sequence":%d}'
                % (job_id.encode(), after),
            )
        )

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            if not data.startswith(b"HTTP/1.1 101"):
                self.open.set_exception(RuntimeError(data[:200].decode()))
                return
            self.open.set_result(None)
            return
        if data[0] == _PING and len(data) == 2 + data[1]:
            self.transport.write(_masked(_PONG, data[2:]))
            return
        now = time.perf_counter()
        self.chunks.append(data)
        data = self._tail + data
        self._seen += data.count(_MARK)
        # A mark may come in two pieces; the tail is too short to hold a whole one twice.
        self._tail = data[1 - len(_MARK) :]
        self.refused = self.refused or _REFUSAL in data
        all_here = 0 < self._awaited <= self._seen
        if (all_here or self.refused) and not self.enough.done():
            self.enough.set_result(now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.open.done():
            self.open.set_exception(RuntimeError("connection lost"))


def _masked(first: int, payload: bytes) -> bytes:
    """A client's frame; the mask is zero."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + _medium.pack(size)
    return bytes((first,)) + length + bytes(4) + payload


def frames(data: bytes) -> Iterator[dict[str, object]]:
    """The messages of what a server sent, which are not fragmented."""
    at = 0
    while at < len(data):
        kind, size, at = data[at], data[at + 1], at + 2
        if size == 126:
            size, at = _medium.unpack_from(data, at)[0], at + 2
        elif size == 127:
            size, at = _long.unpack_from(data, at)[0], at + 8
        if kind == 0x81:
            yield msgspec.json.decode(data[at : at + size])
        at += size


_held: list[Socket] = []


async def _connect(port: int) -> Socket:
    _, socket = await asyncio.get_running_loop().create_connection(Socket, _HOST, port)
    await socket.open
    return socket


async def _connect_many(port: int, number: int) -> list[Socket]:
    sockets: list[Socket] = []
    while len(sockets) < number:
        some = min(_CONNECTING, number - len(sockets))
        sockets += await asyncio.gather(*(_connect(port) for _ in range(some)))
    return sockets


async def hold(*, port: int, jobs: list[str], events: int) -> Answer:
    """Sockets that have read so many events of each job, 200 jobs on one, and go on listening."""
    for start in range(0, len(jobs), 200):
        socket = await _connect(port)
        some = jobs[start : start + 200]
        for job_id in some:
            socket.subscribe(job_id, 0, events)
        if events:
            await asyncio.wait_for(socket.enough, _SETTLE)
        _held.append(socket)
    return {}


async def idle(*, port: int, number: int) -> Answer:
    """Sockets that say nothing; they come in some 50 at a time."""
    begun = time.perf_counter()
    sockets = await _connect_many(port, number)
    _held.extend(sockets)
    return {"opened": len(sockets), "seconds": time.perf_counter() - begun}


async def subscribe(*, jobs: list[str]) -> Answer:
    """All sockets that are held ask for a job without events, the jobs taken in turn."""
    for number, socket in enumerate(each for each in _held if not each.lost):
        socket.subscribe(jobs[number % len(jobs)], 0, 0)
        if number % _CONNECTING == 0:
            await asyncio.sleep(_CONNECTING / _SUBSCRIBES_PER_SECOND)
    return {}


async def lost() -> Answer:
    """How many of the sockets that are held were closed, or were told anything."""
    told = [b"".join(socket.chunks) for socket in _held if socket.chunks]
    return {
        "lost": sum(socket.lost for socket in _held),
        "told": len(told),
        "first": told[0][:200].decode(errors="replace") if told else "",
    }


async def close() -> Answer:
    """Ends the sockets that are held."""
    for socket in _held:
        socket.transport.abort()
    _held.clear()
    return {}


async def resume(*, port: int, jobs: list[str], after: int, events: int, rate: float) -> Answer:
    """One resume of each job, on sockets opened before, at a rate; waits in ms from when due."""
    sockets = await _connect_many(port, len(jobs))
    clock, numbers = time.perf_counter, count()
    due: list[float] = []
    late: list[float] = []
    begun = clock()

    def tick() -> None:
        now = clock()
        while len(due) < min(int((now - begun) * rate), len(jobs)):
            number = next(numbers)
            due.append(begun + (int((number + 1) / rate / TICK - 1e-9) + 1) * TICK)
            late.append((now - due[-1]) * 1e3)
            sockets[number].subscribe(jobs[number], after, events)

    ticker = Ticker(tick)
    await asyncio.wait([each.enough for each in sockets], timeout=len(jobs) / rate + _SETTLE)
    ticker.stop()
    wanted = list(range(after + 1, after + events + 1))
    faults = Counter(text for each in sockets if (text := _fault_in(each, wanted)))
    waits = [
        (each.enough.result() - at) * 1e3
        for each, at in zip(sockets, due, strict=True)
        if each.enough.done() and not each.refused
    ]
    for socket in sockets:
        socket.transport.abort()
    return {"waits": waits, "late": late, "problems": dict(faults.most_common(3))}


def _fault_in(socket: Socket, wanted: list[int]) -> str:
    """What is wrong with what came; nothing, if all events are there, once and in order."""
    got = list(frames(b"".join(socket.chunks)))
    refusals = [f"{each['code']}: {each['message']}" for each in got if each["type"] == "error"]
    sequences = [each.get("sequence") for each in got]
    if refusals or sequences == wanted:
        return " ".join(refusals)
    return f"{len(got)} events, first {sequences[:3]}, last {sequences[-3:]}"


if __name__ == "__main__":
    commands = (hold, idle, subscribe, lost, close, resume)
    serve({command.__name__: partial(command) for command in commands})
