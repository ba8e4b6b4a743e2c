"""The keeper: a process that owns the folder of an embedded store, and answers for it.

    python -m tidegate.cache.stores.keeper FOLDER DIMENSION LOCK_SECONDS

It reads requests from standard input and writes answers to standard output, one at a time and in
order. It ends when its input does: with the cache, however that ends. A panic of the engine, or a
file that is shorter than the engine thinks, ends this process alone.
"""

import contextlib
import fcntl
import os
import signal
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from tidegate.cache.stores.shards import Method, Shards, methods_of

LOCK: Final = "lock"
"""A file of the folder: whoever has it locked owns the folder."""
HELD: Final = "held"
"""What is said first where another process owns it; else nothing."""

LENGTH: Final = struct.Struct("!I")
"""Stands before each message."""

_LOCK_PAUSE: Final = 0.05
# What the engine says of itself names files and numbers; what Python says of an argument may
# quote it.
_TELLABLE: Final = "Service runtime error"


class Request(msgspec.Struct, array_like=True):
    """What is asked: a method of Shards by name."""

    number: int
    method: str
    arguments: dict[str, Any]


class Reply(msgspec.Struct, array_like=True):
    """What it returned; `error` is empty unless it raised."""

    number: int
    error: str = ""
    value: Any = None


def serve(methods: dict[str, Method], asked: BinaryIO, told: BinaryIO) -> None:
    """Answers until there are no more requests."""
    decoder, encoder = msgspec.msgpack.Decoder(Request), msgspec.msgpack.Encoder()
    while head := asked.read(LENGTH.size):
        body = asked.read(LENGTH.unpack(head)[0])
        answer = encoder.encode(_answer(methods, decoder.decode(body)))
        told.write(LENGTH.pack(len(answer)) + answer)
        told.flush()


def _answer(methods: dict[str, Method], request: Request) -> Reply:
    arguments = request.arguments
    if isinstance(packed := arguments.get("vector"), bytes):
        arguments["vector"] = array("f", packed).tolist()
    try:
        return Reply(request.number, value=methods[request.method](**arguments))
    except Exception as error:  # The engine raises nothing narrower.
        text = str(error)
        return Reply(request.number, text if text.startswith(_TELLABLE) else type(error).__name__)


def _lock(folder: Path, seconds: float) -> bool:
    """Takes the folder, for as long as this process lives; whether it becomes free in time."""
    until = time.monotonic() + seconds
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_LOCK_PAUSE)


def main(folder: Path, dimension: int, lock_seconds: float) -> None:
    """Keeps a folder until standard input ends."""
    # Signals are for the cache, which ends its keeper in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = os.fdopen(os.dup(1), "wb")
    # Whatever else writes to standard output must not come between the answers.
    os.dup2(2, 1)
    error = "" if _lock(folder, lock_seconds) else HELD
    greeting = msgspec.msgpack.encode(Reply(0, error))
    told.write(LENGTH.pack(len(greeting)) + greeting)
    told.flush()
    if error:
        return
    shards = Shards(folder, dimension)
    # Nobody is there to hear an answer: then this too is an end.
    with contextlib.suppress(BrokenPipeError):
        serve(methods_of(shards), sys.stdin.buffer, told)
    shards.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
