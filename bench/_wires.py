"""The leanest clients of the gateway's two surfaces: one create again and again, as bytes.

They stand in for the client libraries, which would take as much of a small machine as the gateway
does (grpc.aio's takes 250 µs a call where `GrpcWire` takes 25): HTTP/1.1 with one request at a
time on each kept connection, and HTTP/2 with many streams on few. What they read of an answer is
whether it is one, and the job's id.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from struct import Struct
from typing import Final, Protocol, cast

from bench._http_wire import HOST, post
from tidegate.v1 import jobs_pb2 as pb

KEY: Final = "tidegate-dev"
_JOB_ID: Final = re.compile(rb"job_[a-z2-7]{26}")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
# Streams that share one HTTP/2 connection when all of them are in use.
_STREAMS: Final = 64

# Called with the job's id; empty where there is no job.
Done = Callable[[str], None]


class Door(Protocol):
    """A surface of the gateway. `problems` counts what came instead of jobs."""

    problems: Counter[str]

    async def open(self, at_once: int) -> None:
        """Connects, for so many creates at a time."""

    def send(self, done: Done) -> None:
        """Creates a job."""

    def close(self) -> None:
        """Ends all connections."""


def chat(prompt_bytes: int, max_tokens: int = 1) -> bytes:
    """The Chat Completions body of every create."""
    content = ("What does the tide do? " * (prompt_bytes // 23 + 1))[:prompt_bytes]
    return (
        b'{"model":"sim-small","messages":[{"role":"user","content":"%b"}],"max_tokens":%d}'
    ) % (content.encode(), max_tokens)


def make_door(surface: str, port: int, prompt_bytes: int) -> Door:
    """The door of a surface's name, `http` or `grpc`."""
    kind = HttpDoor if surface == "http" else GrpcDoor
    return kind(port, chat(prompt_bytes))


class HttpWire(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, request: bytes, problems: Counter[str], idle: Callable[["HttpWire"], None]):
        self._request = request
        self._problems = problems
        self._idle = idle
        self._done: Done | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, done: Done) -> None:
        self._done = done
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n") if mark else None
        if length is None or len(body) < int(length[1]):
            return
        self._buffer = b""
        found = _JOB_ID.search(body) if head.startswith(b"HTTP/1.1 202") else None
        if found is None:
            self._problems[f"{head[9:12].decode()} {body[:200].decode()}"] += 1
        self._end(b"" if found is None else found[0])

    def connection_lost(self, exc: Exception | None) -> None:
        done = self._take_done()
        if done is not None:
            self._problems["connection lost"] += 1
            done("")

    def _end(self, job_id: bytes) -> None:
        done = self._take_done()
        self._idle(self)
        if done is not None:
            done(job_id.decode())

    def _take_done(self) -> Done | None:
        done, self._done = self._done, None
        return done


class HttpDoor:
    """POST /v1/jobs. What finds no idle connection waits for one."""

    def __init__(self, port: int, body: bytes) -> None:
        self.problems: Counter[str] = Counter()
        self._port = port
        self._request = post("/v1/jobs", port, KEY, b'{"request":%b}' % body)
        self._wires: list[HttpWire] = []
        self._idle: list[HttpWire] = []
        self._waiting: deque[Done] = deque()

    async def open(self, at_once: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(at_once):
            make = partial(HttpWire, self._request, self.problems, self._on_idle)
            _, wire = await loop.create_connection(make, HOST, self._port)
            self._wires.append(wire)
            self._idle.append(wire)

    def send(self, done: Done) -> None:
        if self._idle:
            self._idle.pop().send(done)
        else:
            self._waiting.append(done)

    def close(self) -> None:
        for wire in self._wires:
            wire.transport.close()

    def _on_idle(self, wire: HttpWire) -> None:
        if self._waiting:
            wire.send(self._waiting.popleft())
        else:
            self._idle.append(wire)


# HTTP/2 (RFC 9113) and its header compression (RFC 7541), as far as a unary call needs them.

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_word = Struct("!I")
_frame_head = Struct("!BHBBI")
_FRAME_HEAD_BYTES: Final = 9
_METHOD_AND_SCHEME: Final = b"\x83\x86"  # POST, http
# The names' places in the static table, None where it has none. All six enter the dynamic table,
# so that every later call names them by one byte each, as gRPC's own clients do.
_HEADER_INDEX: Final = (
    (4, b":path", b"/tidegate.v1.JobService/CreateJob"),
    (1, b":authority", b"127.0.0.1"),
    (31, b"content-type", b"application/grpc"),
    (None, b"te", b"trailers"),
    (58, b"user-agent", b"tidegate-bench"),
    (23, b"authorization", f"Bearer {KEY}".encode()),
)
_FIRST_DYNAMIC: Final = 62


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _frame_head.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _first_headers() -> bytes:
    parts = [_METHOD_AND_SCHEME]
    for index, name, value in _HEADER_INDEX:
        named = b"\x40" + bytes((len(name),)) + name if index is None else bytes((0x40 | index,))
        parts.append(named + bytes((len(value),)) + value)
    return b"".join(parts)


def _later_headers() -> bytes:
    places = range(_FIRST_DYNAMIC + len(_HEADER_INDEX) - 1, _FIRST_DYNAMIC - 1, -1)
    return _METHOD_AND_SCHEME + bytes(0x80 | place for place in places)


class GrpcWire(asyncio.Protocol):
    """One HTTP/2 connection with any number of calls on it.

    The server's flow control is obeyed by failing: so little is sent that it never should bind.
    """

    def __init__(self, message: bytes, problems: Counter[str]) -> None:
        self._message = b"\x00" + _word.pack(len(message)) + message
        self._problems = problems
        self._headers = _first_headers()
        self._calls: dict[int, Done] = {}
        self._answers: dict[int, bytes] = {}
        self._stream = 1
        self._window = 65_535
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        room = _frame(_WINDOW, 0, 0, _word.pack(1 << 30))
        self.transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + room)

    def send(self, done: Done) -> None:
        stream, self._stream = self._stream, self._stream + 2
        self._window -= len(self._message)
        if self._window < 0:
            raise RuntimeError("the server's HTTP/2 window is full: use more connections")
        self._calls[stream] = done
        self.transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, self._headers)
            + _frame(_DATA, _END_STREAM, stream, self._message)
        )
        self._headers = _LATER_HEADERS

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _FRAME_HEAD_BYTES:
            high, low, kind, flags, stream = _frame_head.unpack_from(data, at)
            upto = at + _FRAME_HEAD_BYTES + (high << 16 | low)
            if upto > end:
                break
            self._take(kind, flags, stream, data[at + _FRAME_HEAD_BYTES : upto])
            at = upto
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in tuple(self._calls):
            self._end(stream, b"connection lost")

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._answers[stream] = self._answers.get(stream, b"") + payload
        elif kind == _HEADERS and flags & _END_STREAM:
            self._end(stream, payload)
        elif kind == _RESET:
            self._end(stream, b"reset " + payload.hex().encode())
        elif kind == _WINDOW and stream == 0:
            self._window += int(_word.unpack(payload)[0])
        elif kind in {_SETTINGS, _PING} and not flags & _ACK:
            self.transport.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _GOAWAY:
            self._problems["told to go away"] += 1

    def _end(self, stream: int, trailers: bytes) -> None:
        done = self._calls.pop(stream, None)
        found = _JOB_ID.search(self._answers.pop(stream, b""))
        if done is None:
            return
        if found is None:
            # Names and values stand in the compressed block as they are, or nearly so.
            self._problems[trailers[:300].decode(errors="replace")] += 1
        done("" if found is None else found[0].decode())


_LATER_HEADERS: Final = _later_headers()


class GrpcDoor:
    """CreateJob, the calls spread evenly over some connections."""

    def __init__(self, port: int, body: bytes) -> None:
        self.problems: Counter[str] = Counter()
        self._port = port
        self._message = pb.CreateJobRequest(chat_json=body).SerializeToString()
        self._wires: list[GrpcWire] = []
        self._turn = 0

    async def open(self, at_once: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(-(-at_once // _STREAMS)):
            make = partial(GrpcWire, self._message, self.problems)
            _, wire = await loop.create_connection(make, HOST, self._port)
            self._wires.append(wire)

    def send(self, done: Done) -> None:
        self._turn += 1
        self._wires[self._turn % len(self._wires)].send(done)

    def close(self) -> None:
        for wire in self._wires:
            wire.transport.close()
