"""Ports on loopback for what tests start: free, and taken by no other test process meanwhile.

All are outside the range out of which the kernel takes ports for connections, for any of those may
be in use the moment after. Test processes that run beside each other take from slices of their own.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

_SLICES: Final = 8
_SINGLE: Final = range(24_500, 32_000)
_OFFSETS: Final = range(11_000, 15_000)


def _own(numbers: range) -> list[int]:
    size = len(numbers) // _SLICES
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SLICES
    own = numbers[number * size : (number + 1) * size]
    # Not where another run of the tests on this machine began.
    begin = random.randrange(size)
    return [*own[begin:], *own[:begin]]


_next_port: Iterator[int] = itertools.cycle(_own(_SINGLE))
_next_offset: Iterator[int] = itertools.cycle(_own(_OFFSETS))


def free_port() -> int:
    """A TCP port that is free, and that nobody else is given soon."""
    return next(port for port in _next_port if _is_free(port))


def free_offset(ports: list[int]) -> int:
    """What to add to each of a platform's ports, all of which are free then."""
    return next(offset for offset in _next_offset if all(_is_free(port + offset) for port in ports))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
