"""What turns questions into vectors, whoever does it."""

from collections.abc import Sequence
from typing import Protocol

from tidegate.cache.entries import Vector


class EmbedderError(Exception):
    """There is no vector for a question; the text does not quote it.

    `passing` says whether the same question may have one later (a provider that is down), and not
    never (an answer of another dimension, or one that is no number).
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Embedder(Protocol):
    """Makes vectors; calls of it may be made concurrently."""

    @property
    def fingerprint(self) -> str:
        """Names the vector space, 1 to 64 of a-z, 0-9 and -: equal only where vectors compare."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, of unit length, in order.

        Raises:
            EmbedderError: there is not one for each; nothing is returned.
        """
