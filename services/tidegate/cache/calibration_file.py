"""Calibrations in files: one embedder's table, as `tidegate cache calibrate` makes it.

A file is JSON: {"version": 1, "fingerprint": "…", "points": [[reference, here], …],
"made_from": "…", "pairs": 1234}. These functions block; the files are small.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from tidegate.cache.calibration import (
    BUILT_IN,
    Calibration,
    CalibrationError,
    UncalibratedError,
)
from tidegate.contracts.events import UNDECODABLE

_decoder = msgspec.json.Decoder(Calibration)


def calibration_for(fingerprint: str, path: Path | None = None) -> Calibration:
    """The table of an embedder: the file's, if there is a file, or else the one that is built in.

    Raises:
        UncalibratedError: there is none for this embedder.
        CalibrationError: the file cannot be read.
    """
    if path is not None and path.exists():
        calibration = read_calibration(path)
        if calibration.fingerprint == fingerprint:
            return calibration
        if fingerprint not in BUILT_IN:
            raise UncalibratedError(fingerprint, f"{path} is for {calibration.fingerprint}")
    if fingerprint not in BUILT_IN:
        raise UncalibratedError(fingerprint)
    return BUILT_IN[fingerprint]


def read_calibration(path: Path) -> Calibration:
    """The table in a file.

    Raises:
        CalibrationError: it cannot be read, or is none; the text names the file and the place.
    """
    try:
        return _decoder.decode(path.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{path} cannot be read: {error.strerror or error}") from error
    except UNDECODABLE as error:
        raise CalibrationError(f"{path} is no calibration: {error}") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Puts the table in place of whatever the file held, in one step.

    Raises:
        CalibrationError: it cannot be written; what was there is still there.
    """
    content = msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise CalibrationError(f"{path} cannot be written: {error.strerror or error}") from error
