"""One embedder for all who ask: nothing is embedded twice at a time, or again soon after."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from tidegate.cache.embedders.memory import VectorMemory, digest
from tidegate.cache.embedding import Embedder, EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.component import Component, Deadline

# 4,096 vectors of 384 numbers.
DEFAULT_MEMORY: Final = 8 * 1024 * 1024
DEFAULT_MOST: Final = 256


class EmbedderComponent(Embedder, Component, Protocol):
    """An embedder with a beginning and an end."""


@dataclass(eq=False)
class _Flight:
    """A text that is being embedded, and how many wait for it."""

    work: asyncio.Task[Vector]
    waiting: int = field(default=0)


class SharedEmbedder:
    """Stands before an embedder, and is one; a component, which begins and ends with that.

    Equal texts at the same time are embedded once; `memory_bytes` of vectors are remembered. More
    than `most` different texts do not wait at a time: the next is refused, since it would come too
    late. A text that nobody waits for any more is given up, unless `finish`: a provider that was
    asked will answer, and whoever asks again soon finds that answer.
    """

    def __init__(
        self,
        embedder: EmbedderComponent,
        *,
        memory_bytes: int = DEFAULT_MEMORY,
        most: int = DEFAULT_MOST,
        finish: bool = False,
    ) -> None:
        self._embedder = embedder
        self._memory = VectorMemory(memory_bytes)
        self._most = most
        self._finish = finish
        self._flights: dict[bytes, _Flight] = {}

    @property
    def name(self) -> str:
        """That of the embedder."""
        return self._embedder.name

    @property
    def fingerprint(self) -> str:
        """That of the embedder. Raises EmbedderError where it does not know yet."""
        return self._embedder.fingerprint

    @property
    def dimension(self) -> int:
        """That of the embedder. Raises EmbedderError where it does not know yet."""
        return self._embedder.dimension

    async def start(self) -> None:
        """Starts the embedder. Raises what that raises."""
        await self._embedder.start()

    async def stop(self, deadline: Deadline) -> None:
        """Stops the embedder; whoever waits is told by it."""
        await self._embedder.stop(deadline)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As `Embedder` has it; nobody may write into the vectors."""
        keys = [digest(text) for text in texts]
        found = {key: vector for key in keys if (vector := self._memory.get(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            found |= await self._together(missing)
        return [found[key] for key in keys]

    async def _together(self, texts: dict[bytes, str]) -> dict[bytes, Vector]:
        new = texts.keys() - self._flights.keys()
        if new and len(self._flights) + len(new) > self._most:
            raise EmbedderError("too many texts wait for the embedder", passing=True)
        flights = {key: self._join(key, text) for key, text in texts.items()}
        try:
            works = (asyncio.shield(flight.work) for flight in flights.values())
            return dict(zip(flights, await asyncio.gather(*works), strict=True))
        finally:
            for key, flight in flights.items():
                self._leave(key, flight)

    def _join(self, key: bytes, text: str) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            work = asyncio.create_task(self._embed(key, text), name="embed")
            flight = self._flights[key] = _Flight(work)
            work.add_done_callback(lambda _: self._landed(key, work))
        flight.waiting += 1
        return flight

    def _leave(self, key: bytes, flight: _Flight) -> None:
        flight.waiting -= 1
        if not flight.waiting and not self._finish and not flight.work.done():
            # Whoever asks from now on needs another one.
            self._landed(key, flight.work)
            flight.work.cancel()

    def _landed(self, key: bytes, work: asyncio.Task[Vector]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.work is work:
            del self._flights[key]

    async def _embed(self, key: bytes, text: str) -> Vector:
        (vector,) = await self._embedder.embed([text])
        self._memory.put(key, vector)
        return vector
