"""The load of bench/added_latency.py, a process of its own: answers on a schedule, on either side.

`prepare` opens the connections, `run` makes the calls, `judge` looks at what came. To the model
server each call has a connection; to Tidegate it is a create over HTTP, on a connection of its own,
and the job's events over WebSockets that carry 100 jobs each.
"""

import asyncio
import time
from collections import Counter, deque
from functools import partial
from math import ceil
from typing import Any, Final, Protocol

import msgspec

from bench._child import Answer, serve
from bench._http_wire import HOST, post
from bench._latency_calls import Call, Load, figures
from bench._latency_wires import Feed, Stream
from bench._ticker import TICK, Ticker
from bench._wires import KEY, HttpWire

_JOBS_OF_A_SOCKET: Final = 100
_CONNECTING: Final = 50
_LEAD_SECONDS: Final = 0.2


class Side(Protocol):
    """One way to ask."""

    async def open(self) -> None:
        """Connects."""

    def send(self, call: Call) -> None:
        """Makes a call."""

    def close(self) -> None:
        """Disconnects, and reads what was not read as it came."""


class _Round:
    """A load that waits for its side; `over` is set when so many calls have ended."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._left = load.jobs
        self.over = asyncio.Event()

    def ended(self) -> None:
        self._left -= 1
        if not self._left:
            self.over.set()


class Direct:
    """The model server itself."""

    def __init__(self, this: _Round, port: int) -> None:
        self._this, self._port = this, port
        self._streams: list[Stream] = []

    async def open(self) -> None:
        make = partial(Stream, self._this.ended)
        self._streams = await _connect_many(make, self._port, self._this.load.jobs)

    def send(self, call: Call) -> None:
        body = msgspec.json.encode(self._this.load.request(call.number) | {"stream": True})
        request = post("/v1/chat/completions", self._port, "any", body)
        self._streams[call.number].send(call, request)

    def close(self) -> None:
        for stream in self._streams:
            stream.read()
            stream.transport.abort()


class Jobs:
    """Tidegate: a job, and its events."""

    def __init__(self, this: _Round, http: int, websocket: int) -> None:
        self._this, self._http, self._websocket = this, http, websocket
        self._problems: Counter[str] = Counter()
        self._doors: list[HttpWire] = []
        self._feeds: list[Feed] = []

    async def open(self) -> None:
        numbers = iter(range(self._this.load.jobs))
        self._doors = await _connect_many(
            lambda: HttpWire(self._create(next(numbers)), self._problems, lambda _: None),
            self._http,
            self._this.load.jobs,
        )
        make = partial(Feed, self._this.ended)
        sockets = -(-self._this.load.jobs // _JOBS_OF_A_SOCKET)
        self._feeds = await _connect_many(make, self._websocket, sockets)
        await asyncio.gather(*(feed.open for feed in self._feeds))

    def send(self, call: Call) -> None:
        self._doors[call.number].send(partial(self._created, call))

    def close(self) -> None:
        for door in self._doors:
            door.transport.abort()
        for feed in self._feeds:
            feed.transport.abort()

    def _create(self, number: int) -> bytes:
        body = msgspec.json.encode({"request": self._this.load.request(number)})
        return post("/v1/jobs", self._http, KEY, body)

    def _created(self, call: Call, job_id: str) -> None:
        call.created = time.perf_counter()
        if job_id:
            self._feeds[call.number % len(self._feeds)].follow(job_id, call)
            return
        call.problem, call.ended = f"no job: {self._problems.most_common(1)}", call.created
        self._this.ended()


async def _connect_many(make: Any, port: int, number: int) -> list[Any]:
    loop = asyncio.get_running_loop()
    made: list[Any] = []
    while len(made) < number:
        some = min(_CONNECTING, number - len(made))
        pairs = await asyncio.gather(
            *(loop.create_connection(make, HOST, port) for _ in range(some))
        )
        made += [protocol for _, protocol in pairs]
    return made


class Client:
    """What the bench asks for."""

    def __init__(self) -> None:
        self._next: tuple[_Round, Side] | None = None
        self._calls: list[Call] = []

    async def prepare(self, *, load: dict[str, Any], ports: dict[str, int]) -> Answer:
        """Connects for a round; with the simulator's port alone it is asked itself."""
        this = _Round(Load(**load))
        side: Side
        if "http" in ports:
            side = Jobs(this, ports["http"], ports["websocket"])
        else:
            side = Direct(this, ports["simulator"])
        await side.open()
        self._next = this, side
        return {}

    async def run(self, *, patience: float) -> Answer:
        """Makes the calls, and ends `patience` seconds after they were due to be over, at last."""
        assert self._next is not None
        this, side = self._next
        load = this.load
        begin = time.perf_counter()
        calls = [Call(n, begin + _due(n, load)) for n in range(load.jobs)]
        waiting = deque(calls)

        def tick() -> None:
            _send_due(side, waiting)
            if not waiting:
                ticker.stop()

        ticker = Ticker(tick)
        try:
            await asyncio.wait_for(this.over.wait(), _LEAD_SECONDS + load.lasts + patience)
        except TimeoutError:
            pass  # The calls say that they have not ended.
        finally:
            if waiting:
                ticker.stop()
        self._calls = calls
        return {"tokens": sum(len(call.arrivals) for call in calls)}

    async def judge(self) -> Answer:
        """The round's figures; ends the connections. Its CPU is not that of the load."""
        assert self._next is not None
        this, side = self._next
        side.close()
        return figures(self._calls, this.load)


def _due(number: int, load: Load) -> float:
    """When a call is due: on a tick, seconds after the clock began."""
    ticks = ceil((_LEAD_SECONDS + number * load.over / load.jobs) / TICK - 1e-9)
    return ticks * TICK


def _send_due(side: Side, waiting: deque[Call]) -> None:
    while waiting and waiting[0].due <= (now := time.perf_counter()):
        call = waiting.popleft()
        call.sent = now
        side.send(call)


if __name__ == "__main__":
    client = Client()
    serve({"prepare": client.prepare, "run": client.run, "judge": client.judge})
