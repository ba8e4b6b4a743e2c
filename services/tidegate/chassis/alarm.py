"""A time limit that is put off with every token, and hardly ever reached.

`asyncio.timeout` makes and cancels a timer of the loop's each time; here a timer that runs is left
to run, and looks when it ends whether it was put off meanwhile.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

NEVER: Final = math.inf


class Alarm:
    """Calls back once its time has come. Times are of the running loop's clock, in seconds."""

    __slots__ = ("_at", "_callback", "_loop", "_rings_at", "_timer")

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._at = self._rings_at = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Calls at that time and at no other, not at all where it is NEVER."""
        self._at = at
        if at < self._rings_at:
            self._ring_at(at)

    def close(self) -> None:
        """Calls no more."""
        # Earlier than any time that may still be set.
        self._at, self._rings_at = NEVER, -math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _ring_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, NEVER
        if self._at == NEVER:
            return
        if self._at > self._loop.time():
            self._ring_at(self._at)
            return
        self._at = NEVER
        self._callback()
