"""Ports on loopback for what tests start: free, and taken by no other test process meanwhile.

All are outside the range out of which the kernel takes ports for connections, for any of those may
be in use the moment after. Each process of a test run takes from a slice that it has locked: runs
beside each other on one machine do not meet either.
"""

import fcntl
import itertools
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_SLICES: Final = 16
_SINGLE: Final = range(24_500, 32_000)
_OFFSETS: Final = range(11_000, 15_000)


def free_port() -> int:
    """A TCP port that is free, and that nobody else is given soon."""
    return next(port for port in _turns(_SINGLE) if _is_free(port))


def free_offset(ports: list[int]) -> int:
    """What to add to each of a platform's ports, all of which are free then."""
    return next(each for each in _turns(_OFFSETS) if all(_is_free(port + each) for port in ports))


@cache
def _turns(numbers: range) -> Iterator[int]:
    size = len(numbers) // _SLICES
    number = _own_slice()
    return itertools.cycle(numbers[number * size : (number + 1) * size])


@cache
def _own_slice() -> int:
    """The first that nobody has; it is locked for as long as this process lives."""
    for number in range(_SLICES):
        path = Path(tempfile.gettempdir()) / f"tidegate-ports-{number}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return number
    return random.randrange(_SLICES)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
