"""Takes whole messages out of what a NATS server sends, so that a test can lose exactly one.

    lost = MessageFilter(lambda subject: subject.startswith("live."))
    TcpProxy(nats.port, filters=lambda way: lost if way is Way.DOWN else None)

The client's protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from collections.abc import Callable

_END = b"\r\n"


class MessageFilter:
    """Drops the MSG and HMSG frames whose subject `lose` names; serves one connection at a time."""

    def __init__(self, lose: Callable[[str], bool]) -> None:
        self.lost = 0
        self._lose = lose
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """What goes on to the client; an unfinished frame waits for its rest."""
        self._buffer += data
        passed = bytearray()
        while (size := self._frame_size()) is not None:
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            verb, *words = frame.partition(_END)[0].split()
            if verb in {b"MSG", b"HMSG"} and self._lose(words[0].decode()):
                self.lost += 1
            else:
                passed += frame
        return bytes(passed)

    def _frame_size(self) -> int | None:
        line, end, _ = self._buffer.partition(_END)
        if not end:
            return None
        size = len(line) + len(_END)
        if line.startswith((b"MSG ", b"HMSG ")):
            size += int(line.split()[-1]) + len(_END)
        return size if len(self._buffer) >= size else None
