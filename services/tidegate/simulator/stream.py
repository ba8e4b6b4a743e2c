"""One answer on its way: which token is due when, and how the answer ends.

The time of token i is computed from the start of the call, never from the token before:

    start + ttft + (i + jitter * draw) * interval        draw in [0, 1), anew for each token

so a late token makes none of its successors late, and with jitter up to 1 the order holds.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from random import Random
from typing import Final, Protocol

from tidegate.simulator.calls import CallLog, CallRecord
from tidegate.simulator.faults import Break, CallPlan
from tidegate.simulator.frames import ChunkFrames, http_chunk

#: A client that reads nothing is waited for once so many bytes lie unsent.
_CONGESTED_BYTES: Final = 256 * 1024
_CONGESTED_WAIT: Final = 0.02
_FLUSH_WAIT: Final = 0.001
#: Tokens that one stream may catch up on before the others have their turn.
_BURST: Final = 32
#: SO_LINGER on, zero seconds: closing the socket then sends RST instead of FIN.
_LINGER_NONE: Final = struct.pack("ii", 1, 0)


class Sink(Protocol):
    """Where tokens go."""

    def unsent(self) -> int:
        """Bytes that have not left the process yet."""

    def send(self, token: bytes) -> None:
        """Send one token, at once and without waiting."""


class Unsent:
    """The sink of an answer in one piece: tokens take their time, and are sent at the end."""

    def unsent(self) -> int:
        """None: there is no reader yet."""
        return 0

    def send(self, token: bytes) -> None:
        """Keep nothing; the answer's text is known."""


class Wire:
    """The sink of a stream: frames go straight to the transport, the role before the first."""

    def __init__(self, transport: asyncio.Transport, frames: ChunkFrames) -> None:
        self._transport = transport
        self._frames = frames
        self._opened = False

    def unsent(self) -> int:
        """Bytes in the transport's buffer; 0 on a closed connection."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def send(self, token: bytes) -> None:
        """Write the token's frame; on a closed connection nothing happens."""
        frame = self._frames.token_chunk(token)
        if not self._opened:
            self._opened = True
            frame = http_chunk(self._frames.role()) + frame
        if not self._transport.is_closing():
            self._transport.write(frame)


class TokenStream:
    """Sends the tokens of one call at their times; `done` says how they ended: None for whole.

    `start`: the call's beginning on the ticker's clock. Hand it to `Ticker.add` with `first_due`.
    """

    def __init__(
        self,
        plan: CallPlan,
        *,
        tokens: Iterator[bytes],
        sink: Sink,
        record: CallRecord,
        log: CallLog,
        dice: Random,
        start: float,
    ) -> None:
        self._plan = plan
        self._tokens = tokens
        self._sink = sink
        self._record = record
        self._log = log
        self._draw = dice.random
        self._base = start + plan.ttft
        self._stall_after = plan.stall_after
        self._closed = False
        self.done: asyncio.Future[Break | None] = asyncio.get_running_loop().create_future()
        self._deadline = self.first_due = self._time_of(0)

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True

    def on_due(self, now: float) -> float | None:
        """Send what is due; the next token's time, or None at the end."""
        if self._closed:
            return None
        for _ in range(_BURST):
            due = self._act(now)
            if due is None or due > now:
                return due
        return now

    def on_fault(self, error: Exception) -> None:
        """Hand an error of our own to whoever waits for the end."""
        if not self.done.done():
            self.done.set_exception(error)

    def _act(self, now: float) -> float | None:
        """One step: the end, a stall, a wait, or a token. Returns when the next one is due."""
        sent = self._record.tokens_sent
        if sent == self._plan.break_after:
            return self._break_off(now)
        if sent == self._stall_after:
            return self._stall()
        if self._sink.unsent() > _CONGESTED_BYTES:
            return now + _CONGESTED_WAIT
        self._sink.send(next(self._tokens))
        self._log.sent(self._record, max(now - self._deadline, 0.0))
        return self._after_token(sent + 1)

    def _after_token(self, sent: int) -> float | None:
        # A break after the very last token still comes in its own time, so that the token is out.
        if sent == self._record.tokens_planned and sent != self._plan.break_after:
            self._end(None)
            return None
        self._deadline = self._time_of(sent)
        return self._deadline

    def _time_of(self, position: int) -> float:
        plan = self._plan
        shift = plan.jitter * self._draw() if plan.jitter else 0.0
        return self._base + (position + shift) * plan.interval

    def _stall(self) -> float:
        self._log.stalled(self._record)
        self._stall_after = -1
        self._base += self._plan.stall_s
        self._deadline += self._plan.stall_s
        return self._deadline

    def _break_off(self, now: float) -> float | None:
        # A reset throws away what lies in the buffer, and the token before it must arrive.
        if self._sink.unsent():
            return now + _FLUSH_WAIT
        self._end(self._plan.break_kind)
        return None

    def _end(self, ending: Break | None) -> None:
        if not self.done.done():
            self.done.set_result(ending)


def reset(transport: asyncio.Transport) -> None:
    """Break the connection off with a TCP reset; what lies unsent is lost."""
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()
