"""Reading a job's events with a clock beside it."""

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from tidegate.chassis.alarm import NEVER, Alarm
from tidegate.eventlog.tail import Entry


class Batches:
    """A job's batches of events; to be used as a context, whose end is the reader's.

    `wake` is what `batches` wait for, and says with an empty one that it came without events. To
    wait for a batch with a time-out does not end the reading.
    """

    def __init__(self, batches: AsyncGenerator[list[Entry], None], wake: asyncio.Event) -> None:
        self.begun = False  # Whether there was a batch.
        self._batches = batches
        self._alarm = Alarm(wake.set)
        self._now = asyncio.get_running_loop().time

    async def next(self, seconds: float | None) -> list[Entry] | None:
        """The next batch; empty after the last one; None if there is none within `seconds`.

        The first takes as long as it takes to find the job's log.

        Raises whatever the following raises.
        """
        until = NEVER if seconds is None else self._now() + seconds
        self._alarm.set(until)
        async for batch in self._batches:
            if batch:
                self.begun = True
                return batch
            if self._now() >= until:
                return None
        return []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._alarm.close()
        await self._batches.aclose()
