"""The clients of bench/resume.py, in processes of their own: bare WebSockets that parse little.

`hold` and `idle` open sockets that stay; `resume` measures.
"""

import asyncio
import time
from collections import Counter
from functools import partial
from itertools import count
from typing import Final

import msgspec

from bench._child import Answer, serve
from bench._ticker import TICK, Ticker
from bench._websocket import PING, TEXT, Socket, split

_HOST: Final = "127.0.0.1"
_MARK: Final = b'"sequence":'
_REFUSAL: Final = b'"type":"error"'
_SETTLE: Final = 10.0  # seconds that late answers are waited for
_CONNECTING: Final = 50
_SUBSCRIBES_PER_SECOND: Final = 1_000


class Client(Socket):
    """Counts the events that came, and keeps their bytes to be looked at later."""

    def __init__(self) -> None:
        super().__init__()
        self.enough: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.chunks: list[bytes] = []
        self.refused = False
        self._awaited = 0
        self._seen = 0
        self._tail = b""

    def follow(self, job_id: str, after: int, awaited: int) -> None:
        """Asks for a job's events; `enough` is done when so many (more) have come."""
        self._awaited += awaited
        self.subscribe(job_id, after)

    def take(self, data: bytes) -> None:
        if data[0] == PING and len(data) == 2 + data[1]:
            self.pong(data[2:])
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

    def events(self) -> list[dict[str, object]]:
        """All messages that came, which are not fragmented."""
        frames, _ = split(b"".join(self.chunks))
        return [msgspec.json.decode(payload) for kind, payload in frames if kind == TEXT]


_held: list[Client] = []


async def _connect(port: int) -> Client:
    _, socket = await asyncio.get_running_loop().create_connection(Client, _HOST, port)
    await socket.open
    return socket


async def _connect_many(port: int, number: int) -> list[Client]:
    sockets: list[Client] = []
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
            socket.follow(job_id, 0, events)
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
        socket.follow(jobs[number % len(jobs)], 0, 0)
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
            sockets[number].follow(jobs[number], after, events)

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


def _fault_in(socket: Client, wanted: list[int]) -> str:
    """What is wrong with what came; nothing, if all events are there, once and in order."""
    got = socket.events()
    refusals = [f"{each['code']}: {each['message']}" for each in got if each["type"] == "error"]
    sequences = [each.get("sequence") for each in got]
    if refusals or sequences == wanted:
        return " ".join(refusals)
    return f"{len(got)} events, first {sequences[:3]}, last {sequences[-3:]}"


if __name__ == "__main__":
    commands = (hold, idle, subscribe, lost, close, resume)
    serve({command.__name__: partial(command) for command in commands})
