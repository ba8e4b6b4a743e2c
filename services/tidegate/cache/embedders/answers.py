"""Vectors out of what a provider answered. Pure."""

from typing import Final

import msgspec
import numpy as np

from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.contracts.events import UNDECODABLE

# Longer vectors than any model has; nobody may fill the memory.
MOST_NUMBERS: Final = 16_384
# Shorter ones are 0 as far as 32 bits can tell.
_SHORTEST: Final = float(np.finfo(np.float32).tiny)


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


_decoder = msgspec.json.Decoder(list[_Embedding])


def read_vectors(data: bytes, count: int, dimension: int | None) -> list[Vector]:
    """Unit vectors in the order of their index; `data` is as in `EmbeddingsResult`.

    `dimension` None: whatever all of them have.

    Raises:
        EmbedderError: they are not `count` vectors of that dimension with finite numbers and a
            length.
    """
    try:
        embeddings = _decoder.decode(data)
    except UNDECODABLE as error:
        raise EmbedderError("the provider's vectors are no lists of numbers") from error
    embeddings.sort(key=lambda each: each.index)
    if [each.index for each in embeddings] != list(range(count)):
        raise EmbedderError(f"the provider gave {len(embeddings)} vectors for {count} texts")
    vectors = [_unit(each.embedding) for each in embeddings]
    expected = dimension or len(vectors[0])
    for vector in vectors:
        if len(vector) != expected:
            raise EmbedderError(f"a vector has {len(vector)} numbers in place of {expected}")
    return vectors


def _unit(numbers: list[float]) -> Vector:
    if not 0 < len(numbers) <= MOST_NUMBERS:
        raise EmbedderError(f"a vector has {len(numbers)} numbers")
    vector = np.array(numbers, dtype=np.float64)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector))
    # Also false where it is not a number.
    if not _SHORTEST <= length < float("inf"):
        raise EmbedderError("a vector has no direction: it is zero, too long, or holds no numbers")
    return (vector / length).astype(np.float32)
