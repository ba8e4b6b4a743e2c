"""What a threshold is on an embedder's own scale. Pure.

Thresholds are given on the scale of MiniLM in fp32, the reference. The same cosine means something
else to another embedder, so that each has a table: points (reference, here) of the same strictness,
found on the scores of many pairs of questions. A threshold here accepts the share of pairs that its
reference accepts there (quantile mapping; in test theory, equipercentile equating).
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.cache.embedders.models import MINILM_FINGERPRINT, REFERENCE_FINGERPRINT

COMMAND: Final = "tidegate cache calibrate --pairs FILE"
STEPS: Final = (*(step / 100 for step in range(70, 98, 2)), 0.97, 0.98, 0.99)
# A threshold that fewer pairs pass says nothing.
LEAST_PAIRS: Final = 30
_DECIMALS: Final = 4

Scores = NDArray[np.float32] | NDArray[np.float64] | Sequence[float]
Point = tuple[float, float]


class CalibrationError(Exception):
    """A calibration that cannot be made or read; the text says why."""


class UncalibratedError(CalibrationError):
    """Nobody knows what a threshold is to an embedder; the text says how to find out."""

    def __init__(self, fingerprint: str, why: str = "") -> None:
        super().__init__(
            f"the embedder {fingerprint} is not calibrated{why and f' ({why})'}, so its scores "
            f"mean nothing: run `{COMMAND}` with pairs of like questions"
        )


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An embedder's table. `points` are (reference, here), cosines from -1 to 1, in order.

    `made_from` says in words which pairs it was made from, `pairs` how many they were.
    """

    fingerprint: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}$")]
    points: tuple[Point, ...]
    made_from: str
    pairs: Annotated[int, msgspec.Meta(ge=1)]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Raises ValueError for points that are no table."""
        if len(self.points) < 2:
            raise ValueError("a table has at least two points")
        if not all(math.isfinite(each) and -1 <= each <= 1 for each in _flat(self.points)):
            raise ValueError("a point is two cosines, from -1 to 1")
        for (reference, here), (next_reference, next_here) in pairwise(self.points):
            if next_reference <= reference or next_here < here:
                raise ValueError("the points rise from one to the next")

    def of(self, threshold: float) -> float:
        """The embedder's threshold for one on the reference's scale, both from -1 to 1.

        A straight line from point to point, and from the last to 1, where both agree. Below the
        first it is what it is there: stricter than was asked for, and never laxer.
        """
        points = self.points if self.points[-1][0] >= 1 else (*self.points, (1.0, 1.0))
        place = bisect_right(points, threshold, key=lambda point: point[0])
        if place == 0:
            return points[0][1]
        if place == len(points):
            return points[-1][1]
        (low, low_here), (high, high_here) = points[place - 1], points[place]
        share = (threshold - low) / (high - low)
        return min(low_here + share * (high_here - low_here), high_here)


def points_of(
    reference: Scores, here: Scores, *, steps: Sequence[float] = STEPS
) -> tuple[Point, ...]:
    """The table's points, from the scores that both embedders give the same pairs.

    Steps that fewer than `LEAST_PAIRS` pairs reach, or all, are left out.

    Raises:
        CalibrationError: there is not a score of each for every pair, or too few pairs are alike.
    """
    theirs, ours = np.asarray(reference, dtype=np.float64), np.asarray(here, dtype=np.float64)
    if theirs.shape != ours.shape or theirs.ndim != 1:
        raise CalibrationError("each pair needs a score of both embedders")
    if not (np.isfinite(theirs).all() and np.isfinite(ours).all()):
        raise CalibrationError("a score is no number")
    falling = np.sort(ours)[::-1]
    points: list[Point] = []
    for step in sorted(steps):
        accepted = int((theirs >= step).sum())
        if LEAST_PAIRS <= accepted < len(falling):
            between = float(falling[accepted - 1] + falling[accepted]) / 2
            points.append((step, round(min(between, 1.0), _DECIMALS)))
    if len(points) < 2:
        raise CalibrationError(
            f"too few pairs are alike: at least {LEAST_PAIRS} have to score above two of the steps "
            f"from {min(steps):g} up on the reference's scale, and others below"
        )
    return tuple(points)


def _flat(points: Iterable[Point]) -> Iterable[float]:
    return (each for point in points for each in point)


_MINILM: Final = Calibration(
    fingerprint=MINILM_FINGERPRINT,
    points=(
        (0.70, 0.6971),
        (0.72, 0.7167),
        (0.74, 0.7365),
        (0.76, 0.7562),
        (0.78, 0.7758),
        (0.80, 0.7954),
        (0.82, 0.8150),
        (0.84, 0.8345),
        (0.86, 0.8543),
        (0.88, 0.8740),
        (0.90, 0.8937),
        (0.92, 0.9133),
        (0.94, 0.9336),
        (0.96, 0.9536),
        (0.97, 0.9634),
        (0.98, 0.9733),
        (0.99, 0.9832),
    ),
    made_from=(
        "all pairs of 6,500 questions of Banking77 and of 6,500 of CLINC150 that score at least "
        "0.6, against the original weights in fp32"
    ),
    pairs=424_193,
)
_REFERENCE: Final = Calibration(
    fingerprint=REFERENCE_FINGERPRINT,
    points=((-1.0, -1.0), (1.0, 1.0)),
    made_from="the scale itself",
    pairs=1,
)
# Made by bench/cache_calibration.py.
BUILT_IN: Final[Mapping[str, Calibration]] = {
    each.fingerprint: each for each in (_MINILM, _REFERENCE)
}
