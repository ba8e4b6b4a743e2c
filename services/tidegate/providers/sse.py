"""Server-sent events split from bytes as they arrive, cut anywhere.

After the event stream interpretation of the HTML standard (section 9.2.6), for those fields that a
token stream uses: an event's `data` lines are joined by line feeds; comments and other fields are
skipped; lines end with CRLF, LF or CR. Bytes in, bytes out: a UTF-8 character cut in two by the
network is whole again when its event is.
"""

from typing import Final

# An event of this size is no token any more; without a bound one line could fill the memory.
LARGEST_EVENT: Final = 8 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data: "


class EventTooLargeError(Exception):
    """An event of more than LARGEST_EVENT bytes."""


class SseSplitter:
    """Takes the chunks of one stream in order."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_carriage_return = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that this chunk ends, in order.

        Raises:
            EventTooLargeError: an event does not end.
        """
        if not chunk:
            return []
        if self._after_carriage_return or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        blocks = (self._rest + chunk).split(b"\n\n")
        self._rest = blocks.pop()
        if len(self._rest) > LARGEST_EVENT:
            raise EventTooLargeError
        return [data for block in blocks if (data := self._data(block)) is not None]

    def close(self) -> list[bytes]:
        """What the last event would hold if the stream had ended it; the stream is over.

        The standard drops it. Servers exist that do not end their last one.
        """
        data = self._data(self._rest)
        self._rest = b""
        return [] if data is None else [data]

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        # A line feed after a carriage return that ended the last chunk belongs to that line end.
        if self._after_carriage_return:
            chunk = chunk.removeprefix(b"\n")
        self._after_carriage_return = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _data(self, block: bytes) -> bytes | None:
        """The data of a block of lines; None where it has none."""
        if block.startswith(_DATA) and b"\n" not in block:
            self._at_start = False
            return block[6:]
        if self._at_start:
            block = block.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        lines = [_value(line) for line in block.split(b"\n")]
        values = [value for value in lines if value is not None]
        return b"\n".join(values) if values else None


def _value(line: bytes) -> bytes | None:
    field, _, value = line.partition(b":")
    return value.removeprefix(b" ") if field == b"data" else None
