"""The questions' space: the embedder in use, and what thresholds are on its scale."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import numpy as np
import structlog

from tidegate.cache.calibration import Calibration
from tidegate.cache.embedders.shared import EmbedderComponent
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.component import Deadline

_log = structlog.stdlib.get_logger(module=__name__)

# How far from 1 the length of a vector may be.
_SLACK: Final = 1e-3


class NoVector(StrEnum):
    """Why questions cannot be compared, and only the same one is found."""

    NO_EMBEDDER = "no_embedder"
    """The cache is set to exact hits."""
    UNCALIBRATED = "uncalibrated"
    """Nobody knows what a threshold means to the embedder."""
    EMBEDDER_AWAY = "embedder_away"
    """The embedder did not answer; it may later."""
    NOT_EMBEDDABLE = "not_embeddable"
    """The embedder has no vector for this text, or gave one that is none."""


class NoVectorError(Exception):
    """A text has no vector; `reason` says why."""

    def __init__(self, reason: NoVector) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Questions:
    """A component around an embedder, which begins and ends with it; None: exact hits only.

    `calibrations` finds the table of an embedder's fingerprint, and None for one without.
    """

    name = "questions"

    def __init__(
        self,
        embedder: EmbedderComponent | None,
        calibrations: Callable[[str], Calibration | None],
    ) -> None:
        self._embedder = embedder
        self._calibrations = calibrations
        self._calibration: Calibration | None = None

    @property
    def embedder(self) -> str:
        """The embedder's fingerprint; empty without one."""
        return "" if self._embedder is None else self._embedder.fingerprint

    @property
    def dimension(self) -> int:
        """Numbers in a vector; 0 without an embedder."""
        return 0 if self._embedder is None else self._embedder.dimension

    @property
    def off(self) -> NoVector | None:
        """Why no questions are compared; None: they are."""
        if self._embedder is None:
            return NoVector.NO_EMBEDDER
        return NoVector.UNCALIBRATED if self._calibration is None else None

    def scale(self, threshold: float) -> float:
        """A threshold of the setting on the embedder's scale; unchanged where there is none."""
        return threshold if self._calibration is None else self._calibration.of(threshold)

    async def start(self) -> None:
        """Begins the embedder. Raises what that raises."""
        if self._embedder is None:
            return
        await self._embedder.start()
        self._calibration = self._calibrations(self._embedder.fingerprint)

    async def stop(self, deadline: Deadline) -> None:
        """Ends the embedder."""
        if self._embedder is not None:
            await self._embedder.stop(deadline)

    async def vector(self, text: str) -> Vector:
        """The vector of a text.

        Raises:
            NoVectorError: there is none.
        """
        if self._embedder is None or self.off is not None:
            raise NoVectorError(self.off or NoVector.NO_EMBEDDER)
        try:
            vectors = await self._embedder.embed([text])
        except EmbedderError as error:
            reason = NoVector.EMBEDDER_AWAY if error.passing else NoVector.NOT_EMBEDDABLE
            raise NoVectorError(reason) from error
        if len(vectors) != 1 or not _is_unit(vectors[0], self._embedder.dimension):
            raise NoVectorError(NoVector.NOT_EMBEDDABLE)
        return vectors[0]


def _is_unit(vector: Vector, dimension: int) -> bool:
    """Whether it is a vector of the space; also false where a number in it is none."""
    return vector.shape == (dimension,) and abs(float(np.linalg.norm(vector)) - 1.0) < _SLACK
