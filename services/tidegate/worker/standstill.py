"""Whether this process stood still for so long that a delivery may run out: frozen, or starved.

What it then finds on its socket was sent at any time meanwhile, and a delivery does not say when.
One that has run out by now is another worker's: to begin it would take the log from its owner and
pay the model twice. So deliveries are in doubt until the server has answered a ping that was sent
after the stand-still, for all that was on its way comes before that answer. Nothing is lost by not
beginning one: nobody speaks about it, and it is delivered again when its time has run out.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.queue_consumers import ACK_WAIT_SECONDS
from tidegate.worker.delivery import BACKOFF

_log = structlog.stdlib.get_logger(module=__name__)

_TICK_SECONDS: Final = 1.0
# A delivery that is taken is kept alive within a third of its time. What is older than half of it
# may have run out by then.
_STILL_SECONDS: Final = ACK_WAIT_SECONDS / 2
_FLUSH_SECONDS: Final = 2.0

Hook = Callable[[], Coroutine[Any, Any, None]]


class Connection(Protocol):
    """What is asked of the connection that deliveries come by."""

    async def flush(self, *, timeout: float) -> None:  # noqa: ASYNC109
        """Returns when all that the server had sent has been handed over, or raises Unavailable."""


class Standstill:
    """A component that watches the clock (seconds, monotonic), to begin before the intake does."""

    name = "standstill"

    def __init__(
        self, nats: Connection, guard: TaskGuard, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._nats = nats
        self._guard = guard
        self._clock = clock or asyncio.get_running_loop().time
        self._hooks: list[Hook] = []
        self._ticked_at = self._clock()
        self._behind = False

    def on_end(self, hook: Hook) -> None:
        """Runs `hook` after each stand-still; it must not raise."""
        self._hooks.append(hook)

    @property
    def doubtful(self) -> bool:
        """Whether a delivery that arrives now may have run out long ago."""
        return self._behind or self._clock() - self._ticked_at >= _STILL_SECONDS

    async def start(self) -> None:
        """Begins to watch."""
        self._ticked_at = self._clock()
        self._guard.spawn_eternal(self.name, self._watch())

    async def stop(self, deadline: Deadline) -> None:
        """Nothing to do: the guard ends the watch."""

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            await self.tick()

    async def tick(self) -> None:
        """Looks at the clock; after a stand-still it returns when nothing is in doubt any more."""
        stood_still = self.doubtful
        seconds, self._ticked_at = self._clock() - self._ticked_at, self._clock()
        if not stood_still:
            return
        self._behind = True
        _log.warning("stood still", seconds=round(seconds, 1))
        for hook in self._hooks:
            self._guard.spawn("after a stand-still", hook())
        await self._catch_up()

    async def _catch_up(self) -> None:
        tries = 0
        while True:
            try:
                await self._nats.flush(timeout=_FLUSH_SECONDS)
            except Unavailable:
                await BACKOFF.pause(tries)
                tries += 1
            else:
                break
        self._ticked_at, self._behind = self._clock(), False
