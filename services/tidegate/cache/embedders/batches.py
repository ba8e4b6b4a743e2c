"""Texts that wait while requests are under way, and go together with the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.tasks import TaskGuard

MOST_TEXTS: Final = 64

Ask = Callable[[list[str]], Awaitable[list[Vector]]]


class RefusedError(EmbedderError):
    """A text is at fault; one of those that were asked for together."""


class _Waiting:
    """A text, and whoever waits for its vector."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.vector: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()

    def fails(self, error: EmbedderError) -> None:
        if not self.vector.done():
            self.vector.set_exception(error)


class Batches:
    """Asks for at most 64 texts at a time, with at most `requests` requests under way.

    There is no timer: a text goes at once where it can, and else with all that wait by then. `ask`
    gives a vector for each text, or raises EmbedderError; where that is a RefusedError, halves are
    asked for apart, so that one text's fault is not another's.
    """

    def __init__(self, ask: Ask, guard: TaskGuard, *, requests: int) -> None:
        self._ask = ask
        self._guard = guard
        self._requests = requests
        self._waiting: list[_Waiting] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def vectors(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each. A text whose caller left before it was sent is passed over.

        Raises:
            EmbedderError: there is not one for each.
        """
        if self._stopping:
            raise _stops()
        waiting = [_Waiting(text) for text in texts]
        self._waiting += waiting
        self._send()
        return await asyncio.gather(*(each.vector for each in waiting))

    def stop(self) -> None:
        """Gives up what is under way and what waits."""
        self._stopping = True
        for waiting in self._waiting:
            waiting.fails(_stops())
        for task in self._under_way:
            task.cancel()

    def _send(self) -> None:
        while len(self._under_way) < self._requests:
            self._waiting = [each for each in self._waiting if not each.vector.done()]
            batch, self._waiting = self._waiting[:MOST_TEXTS], self._waiting[MOST_TEXTS:]
            if not batch:
                return
            task = self._guard.spawn("embeddings", self._run(batch))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not self._stopping:
            self._send()

    async def _run(self, batch: list[_Waiting]) -> None:
        try:
            await self._settle(batch)
        finally:
            # Without effect on those that were settled.
            for each in batch:
                each.fails(_stops())

    async def _settle(self, batch: list[_Waiting]) -> None:
        try:
            vectors = await self._ask([each.text for each in batch])
        except EmbedderError as error:
            if isinstance(error, RefusedError) and len(batch) > 1:
                middle = len(batch) // 2
                await self._settle(batch[:middle])
                await self._settle(batch[middle:])
                return
            for each in batch:
                each.fails(error)
            return
        for each, vector in zip(batch, vectors, strict=True):
            if not each.vector.done():
                each.vector.set_result(vector)


def _stops() -> EmbedderError:
    return EmbedderError("the embedder stops", passing=True)
