"""Reading a job's events with a clock beside it."""

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from tidegate.eventlog.tail import Entry


class Batches:
    """A job's batches of events; to be used as a context, whose end is the reader's.

    To wait for one with a time-out does not end the reading.
    """

    def __init__(self, batches: AsyncGenerator[list[Entry], None]) -> None:
        self.begun = False  # Whether there was a batch.
        self._batches = batches
        self._next: asyncio.Task[list[Entry]] | None = None

    async def next(self, seconds: float | None) -> list[Entry] | None:
        """The next batch; empty after the last one; None if there is none within `seconds`.

        Raises whatever the following raises.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._advance(), name="next-batch")
        done, _ = await asyncio.wait((self._next,), timeout=seconds)
        if not done:
            return None
        task, self._next = self._next, None
        batch = await task
        self.begun = True
        return batch

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._batches.aclose()

    async def _advance(self) -> list[Entry]:
        return await anext(self._batches, [])
