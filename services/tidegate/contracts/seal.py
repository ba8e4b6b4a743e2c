"""The seal: a finished log in one message, and its replay.

A sealing message is the last line (pending events and the terminal one, with the job's summary),
one line end, and the zlib-compressed lines that came before. A live reader needs the first line
only; a late one replays every event from the rest.
"""

import zlib
from typing import Final

from tidegate.contracts.events import (
    Append,
    CorruptLogError,
    decode_append,
    encode_append,
)

# Speed over size, and little memory for each of the logs that a worker writes at once: 32 KiB.
_LEVEL: Final = 1
_WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5
# More than the compressor can hold back at that memory level.
_HELD_BACK_BYTES: Final = 32 * 1024


class SealBuilder:
    """Packs a log's lines as they are stored, so that its seal's size is known all along.

    `max_size` is the most bytes that a seal of the lines so far has, besides its last line.
    """

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
        self._packed: list[bytes] = []
        self.max_size = _HELD_BACK_BYTES

    def add(self, line: bytes) -> None:
        """Takes the next line."""
        packed = self._compressor.compress(line + b"\n")
        if packed:
            self._packed.append(packed)
            self.max_size += len(packed)

    def finish(self, last: Append) -> bytes:
        """The message that replaces the log: `last` with its terminal event, and what was added.

        It may be called once.
        """
        return b"".join([encode_append(last), b"\n", *self._packed, self._compressor.flush()])


def encode_seal(last: Append, earlier: list[bytes]) -> bytes:
    """The seal of lines that are all at hand."""
    builder = SealBuilder()
    for line in earlier:
        builder.add(line)
    return builder.finish(last)


def is_sealed(payload: bytes) -> bool:
    """Whether a stored message is a seal (or tombstone): only those hold more than a line."""
    return b"\n" in payload


def encode_tombstone(last: Append) -> bytes:
    """What stays of a deleted log: nothing but its id, its hash and the number of its events."""
    stone = Append(
        attempt=last.attempt,
        first=last.last + 1,
        at_ms=last.at_ms,
        events=[],
        job=last.job,
        tombstone=True,
    )
    return encode_seal(stone, [])


def decode_head(payload: bytes) -> Append:
    """The last line of any stored message.

    Raises:
        CorruptLogError: the message is not one of ours.
    """
    return decode_append(payload.partition(b"\n")[0])


def replay(payload: bytes) -> list[Append]:
    """Every line that a stored message stands for, in order: one, or a seal's whole log.

    Raises:
        CorruptLogError: the message is not one of ours, or its lines leave a gap.
    """
    head, _, body = payload.partition(b"\n")
    last = decode_append(head)
    if last.tombstone or not is_sealed(payload):
        if last.job is not None and not last.tombstone:
            raise CorruptLogError("a seal without the log that it seals")
        return [last]
    try:
        earlier = zlib.decompress(body)
    except zlib.error as error:
        raise CorruptLogError(f"a seal that does not open: {error}") from error
    lines = [decode_append(line) for line in earlier.split(b"\n") if line]
    lines.append(last)
    _check_gapless(lines)
    return lines


def _check_gapless(lines: list[Append]) -> None:
    expected = 1
    for line in lines:
        if line.first != expected:
            raise CorruptLogError(f"sequence {line.first} follows {expected - 1} in a sealed log")
        expected = line.last + 1
