"""A bare WebSocket of streaming, for benches: what comes is bytes (RFC 6455), and hardly parsed."""

import asyncio
from abc import abstractmethod
from struct import Struct
from typing import Final, cast

TEXT: Final = 0x81
PING: Final = 0x89
_PONG: Final = 0x8A
_HANDSHAKE: Final = (
    b"GET /v1/ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: tidegate.v1\r\nAuthorization: Bearer tidegate-dev\r\n\r\n"
)
_medium = Struct("!H")
_long = Struct("!Q")


class Socket(asyncio.Protocol):
    """Connects and asks; `open` is done after the handshake."""

    def __init__(self) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False

    @abstractmethod
    def take(self, data: bytes) -> None:
        """Takes what came after the handshake: any number of frames, or parts of them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            self.take(data)
        elif data.startswith(b"HTTP/1.1 101"):
            self.open.set_result(None)
        else:
            self.open.set_exception(RuntimeError(data[:200].decode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.open.done():
            self.open.set_exception(RuntimeError("connection lost"))

    def subscribe(self, job_id: str, after: int) -> None:
        """Asks for a job's events after a sequence."""
        text = b'{"type":"subscribe","job_id":"%b","after_sequence":%d}'
        self._send(TEXT, text % (job_id.encode(), after))

    def pong(self, payload: bytes) -> None:
        """Answers a ping, without which the server would cut an idle socket after 40 s."""
        self._send(_PONG, payload)

    def _send(self, first: int, payload: bytes) -> None:
        """A client's frame; the mask is zero."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + _medium.pack(size)
        self.transport.write(bytes((first,)) + length + bytes(4) + payload)


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """A server's whole frames, as first byte and payload, and the bytes after them."""
    frames, at = [], 0
    while len(data) >= at + 2:
        size, begin = data[at + 1], at + 2
        if size >= 126:
            kind = _medium if size == 126 else _long
            if len(data) < begin + kind.size:
                break
            size, begin = kind.unpack_from(data, begin)[0], begin + kind.size
        if len(data) < begin + size:
            break
        frames.append((data[at], data[begin : begin + size]))
        at = begin + size
    return frames, data[at:]
