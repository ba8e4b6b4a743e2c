"""One timer for all streams: a heap keeps who is due, the event loop is asked for one wake-up.

A timer per token would cost a few microseconds of event loop each and, re-armed from "now", would
drift. Here a deadline is computed by its owner from the stream's start, and lateness never adds up.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

#: uvloop rounds shorter waits to none at all, and a loop around those would spin a core.
_SHORTEST_WAIT: Final = 0.001
#: What is due within this time is not worth another wake-up.
_SLACK: Final = 0.0002
#: Tokens in one go before the event loop may flush what was written and read what came in.
_BATCH: Final = 256


class Due(Protocol):
    """Something with deadlines."""

    def on_due(self, now: float) -> float | None:
        """Act, and return the next deadline on the same clock, or None for no more.

        `now` may be a little before the deadline. A deadline in the past is served again soon.
        """

    def on_fault(self, error: Exception) -> None:
        """Learn that `on_due` raised; there will be no more deadlines."""


class Ticker:
    """Calls each `Due` at its deadlines. `clock` is monotonic, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[float, int, Due]] = []
        self._turn = count()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = float("inf")

    def add(self, deadline: float, due: Due) -> None:
        """Call `due` at `deadline`, and then at whatever it returns."""
        heapq.heappush(self._heap, (deadline, next(self._turn), due))
        if deadline < self._wakes_at - _SHORTEST_WAIT:
            self._arm()

    def close(self) -> None:
        """Call nobody any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._heap:
            self._timer, self._wakes_at = None, float("inf")
            return
        now = self._clock()
        wait = max(self._heap[0][0] - now, _SHORTEST_WAIT)
        self._wakes_at = now + wait
        self._timer = self._loop.call_later(wait, self._wake)

    def _wake(self) -> None:
        heap = self._heap
        for _ in range(_BATCH):
            now = self._clock()
            if not heap or heap[0][0] > now + _SLACK:
                break
            _, _, due = heapq.heappop(heap)
            deadline = self._serve(due, now)
            if deadline is not None:
                heapq.heappush(heap, (deadline, next(self._turn), due))
        self._arm()

    def _serve(self, due: Due, now: float) -> float | None:
        try:
            return due.on_due(now)
        except Exception as error:
            # One stream's fault must not stop the clock of all others.
            due.on_fault(error)
            return None
