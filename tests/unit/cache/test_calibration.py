"""Thresholds on another scale: a lax one serves answers to other questions, for a day each."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.calibration import (
    BUILT_IN,
    COMMAND,
    STEPS,
    Calibration,
    CalibrationError,
    Point,
    UncalibratedError,
    points_of,
)
from tidegate.cache.calibration_file import calibration_for, read_calibration, write_calibration
from tidegate.cache.embedders.models import MINILM_FINGERPRINT, REFERENCE_FINGERPRINT

thresholds = st.floats(0.5, 1.0)


def table(*points: Point) -> Calibration:
    return Calibration("other-1", points, "a test", 100)


@st.composite
def tables(draw: st.DrawFn) -> Calibration:
    theirs = draw(st.lists(st.integers(50, 100), min_size=2, max_size=12, unique=True))
    ours = draw(st.lists(thresholds, min_size=len(theirs), max_size=len(theirs)))
    points = zip(sorted(each / 100 for each in theirs), sorted(ours), strict=True)
    return table(*points)


@given(tables())
def test_at_its_points_it_is_what_they_say(calibration: Calibration) -> None:
    for reference, here in calibration.points:
        assert calibration.of(reference) == pytest.approx(here, abs=1e-12)


@given(tables(), thresholds, thresholds)
def test_stricter_there_is_never_laxer_here(calibration: Calibration, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert calibration.of(low) <= calibration.of(high) <= 1.0


@given(tables(), thresholds)
def test_below_its_points_it_does_not_guess(calibration: Calibration, threshold: float) -> None:
    assert calibration.of(threshold) >= calibration.points[0][1]


def test_between_points_it_goes_straight_and_ends_at_one() -> None:
    calibration = table((0.7, 0.8), (0.9, 0.96))
    assert calibration.of(0.8) == pytest.approx(0.88)
    assert calibration.of(0.95) == pytest.approx(0.98)
    assert calibration.of(1.0) == 1.0
    assert calibration.of(0.2) == 0.8


def test_the_built_in_models_table() -> None:
    """Its fingerprint is that of the files and the recipe: other ones need another table."""
    calibration = calibration_for(MINILM_FINGERPRINT)
    assert calibration.of(0.92) == pytest.approx(0.914, abs=0.001)
    assert calibration.of(0.90) < calibration.of(0.92) < 0.92
    assert (calibration.points[0][0], calibration.points[-1][0]) == (0.70, 0.99)


@given(thresholds)
def test_the_reference_is_its_own_scale(threshold: float) -> None:
    assert calibration_for(REFERENCE_FINGERPRINT).of(threshold) == pytest.approx(threshold)


@pytest.mark.parametrize(
    "points",
    [
        [(0.7, 0.7)],
        [(0.7, 0.7), (0.7, 0.8)],
        [(0.9, 0.7), (0.8, 0.8)],
        [(0.7, 0.8), (0.8, 0.7)],
        [(0.7, 0.7), (0.8, 1.1)],
        [(0.7, 0.7), (0.8, float("nan"))],
    ],
)
def test_what_is_no_table(points: list[Point]) -> None:
    with pytest.raises(ValueError, match="point"):
        table(*points)


def scores(seed: int, count: int = 4_000) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).uniform(0.3, 1.0, count)


def test_the_same_scores_are_the_same_scale() -> None:
    theirs = scores(1)
    assert [step for step, _ in points_of(theirs, theirs)] == list(STEPS)
    assert all(abs(here - step) < 0.002 for step, here in points_of(theirs, theirs))


@given(st.integers(0, 1000), st.floats(0.2, 1.0), st.floats(-0.1, 0.1))
def test_a_scale_that_is_bent_is_bent_back(seed: int, power: float, noise: float) -> None:
    theirs = scores(seed)
    ours = np.clip(theirs + noise * scores(seed + 1) * 0.05, 0, 1) ** power
    points = points_of(theirs, ours)
    for step, here in points:
        accepted = (theirs >= step).sum()
        assert abs(int((ours >= here).sum()) - accepted) <= 20  # Rounded to four decimals.
    Calibration("other-1", points, "any", len(theirs))


def test_a_step_that_too_few_pairs_reach_says_nothing() -> None:
    theirs = np.concatenate([np.linspace(0.3, 0.9, 600), np.full(5, 0.995)])
    assert max(step for step, _ in points_of(theirs, theirs)) == 0.86


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ([], []),
        ([0.9, 0.8], [0.9]),
        ([0.9] * 5, [0.9] * 5),
        (scores(1) * 0.5, scores(1)),
        ([float("nan")] * 100, [0.5] * 100),
        (np.full(100, 0.95), scores(1, 100)),
    ],
)
def test_pairs_that_make_no_table(theirs: list[float], ours: list[float]) -> None:
    with pytest.raises(CalibrationError):
        points_of(theirs, ours)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text("something older", encoding="utf-8")
    written = table((0.7, 0.8), (0.9, 0.96))
    write_calibration(path, written)
    assert read_calibration(path) == written == calibration_for("other-1", path)
    told = msgspec.json.decode(path.read_bytes())
    assert set(told) == {"version", "fingerprint", "points", "made_from", "pairs"}
    assert [each.name for each in tmp_path.iterdir()] == ["calibration.json"]


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file" / "calibration.json"
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(CalibrationError, match="cannot be written"):
        write_calibration(path, table((0.7, 0.8), (0.9, 0.96)))
    assert (tmp_path / "file").read_text("utf-8") == "not a folder"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "no calibration"),
        (b"\xff\xfe", "no calibration"),
        (b'{"version": 2, "fingerprint": "a", "points": [[0, 0], [1, 1]], "made_from": "", '
         b'"pairs": 1}', r"\$\.version"),
        (b'{"fingerprint": "A B", "points": [[0, 0], [1, 1]], "made_from": "", "pairs": 1}',
         r"\$\.fingerprint"),
        (b'{"fingerprint": "a", "points": [[0, 0], [1]], "made_from": "", "pairs": 1}',
         r"\$\.points"),
        (b'{"fingerprint": "a", "points": [[1, 1], [0, 0]], "made_from": "", "pairs": 1}', "rise"),
        (b'{"fingerprint": "a", "points": [[0, 0], [1, 1]], "made_from": "", "pairs": 1, "x": 1}',
         "x"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_named_with_the_place(
    tmp_path: Path, content: bytes, place: str
) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=place) as caught:
        calibration_for(MINILM_FINGERPRINT, path)
    assert str(path) in str(caught.value)


def test_an_embedder_without_a_table_is_told_the_command(tmp_path: Path) -> None:
    with pytest.raises(UncalibratedError, match="remote-1") as caught:
        calibration_for("remote-1")
    assert COMMAND in str(caught.value)
    path = tmp_path / "calibration.json"
    with pytest.raises(UncalibratedError):
        calibration_for("remote-1", path)
    write_calibration(path, table((0.7, 0.8), (0.9, 0.96)))
    with pytest.raises(UncalibratedError, match="other-1") as caught:
        calibration_for("remote-1", path)
    assert COMMAND in str(caught.value)


def test_a_file_for_another_embedder_does_not_stand_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    write_calibration(path, table((0.7, 0.8), (0.9, 0.96)))
    assert calibration_for(MINILM_FINGERPRINT, path) == BUILT_IN[MINILM_FINGERPRINT]
