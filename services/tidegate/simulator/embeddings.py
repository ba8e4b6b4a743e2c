"""Deterministic embeddings: unit vectors in which texts that share words lie close together.

The method is feature hashing (Weinberger et al., 2009): every word and every run of three letters
adds one signed weight at a place given by its hash. It knows no meaning, but a reworded question
keeps most of its features, which is what a semantic cache needs to be exercised.
"""

import base64
import math
import re
import sys
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

_WORD: Final = re.compile(r"\w+")
_WORD_WEIGHT: Final = 1.0
_TRIGRAM_WEIGHT: Final = 0.4
# Small: it only keeps apart texts with the same words in another order or other punctuation.
_TEXT_WEIGHT: Final = 0.05


def _features(text: str) -> Iterator[tuple[str, float]]:
    yield f"text {text}", _TEXT_WEIGHT
    for word in _WORD.findall(text.lower()):
        yield f"word {word}", _WORD_WEIGHT
        padded = f"<{word}>"
        for start in range(len(padded) - 2):
            yield f"run {padded[start : start + 3]}", _TRIGRAM_WEIGHT


def embed(text: str, dimensions: int) -> "array[float]":
    """The unit vector of a text: `dimensions` 32-bit floats."""
    sums = [0.0] * dimensions
    for feature, weight in _features(text):
        value = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "little")
        sums[(value >> 1) % dimensions] += weight if value & 1 else -weight
    norm = math.sqrt(math.fsum(x * x for x in sums))
    if norm == 0.0:
        # Features that cancel each other out, possible in a handful of dimensions.
        sums[0], norm = 1.0, 1.0
    return array("f", (x / norm for x in sums))


def to_base64(vector: "array[float]") -> str:
    """OpenAI's `encoding_format="base64"`: little-endian 32-bit floats."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode("ascii")
