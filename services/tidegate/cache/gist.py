"""What an answer says, in a few hundred bytes: for telling whether two answers agree. Pure.

A gist is the embedding of an answer's beginning, a byte for each number, in base64. Rounding to
bytes moves a cosine by less than 0.01.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

import numpy as np

from tidegate.cache.entries import Entry, Vector

BEGINNING: Final = 250
"""Characters of an answer that its gist is made of: what follows repeats, explains, offers more."""


def gist_of(vector: Vector) -> str:
    """The gist that a vector of an answer's beginning is kept as."""
    largest = float(np.abs(vector).max(initial=0.0))
    scaled = np.zeros(vector.shape) if largest == 0 else vector * (127 / largest)
    return b64encode(np.rint(scaled).astype(np.int8).tobytes()).decode()


def agree(one: Entry, other: Entry, agreement: float) -> bool:
    """Whether two entries' answers say the same, by the cosine of their gists.

    Equal texts do. Where a gist is missing nothing is known, and nothing speaks against it.
    """
    if one.text.strip() == other.text.strip():
        return True
    ours, theirs = _vector(one.gist), _vector(other.gist)
    if ours.shape != theirs.shape or not ours.any() or not theirs.any():
        return True
    cosine = float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))
    return cosine >= agreement


def _vector(gist: str) -> Vector:
    try:
        return np.frombuffer(b64decode(gist), dtype=np.int8).astype(np.float32)
    except Base64Error:
        return np.zeros(0, dtype=np.float32)
