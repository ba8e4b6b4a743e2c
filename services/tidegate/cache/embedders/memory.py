"""Vectors of texts that were embedded lately."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from tidegate.cache.entries import Vector

DIGEST_BYTES: Final = 16
# What an entry takes besides its numbers: the array's head, the digest, a place in the dictionary.
_OVERHEAD: Final = 400


def digest(text: str) -> bytes:
    """What stands for a text, which may hold lone surrogates; the text itself is not kept."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


class VectorMemory:
    """Keeps vectors by their texts' digests, up to about `max_bytes`; the longest unused goes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, key: bytes) -> Vector | None:
        """The vector, which counts as used; None where there is none."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: Vector) -> None:
        """Keeps a vector; it is shared by all who get it, so that nobody may write into it."""
        vector.flags.writeable = False
        before = self._vectors.pop(key, None)
        self._bytes += _size(vector) - (0 if before is None else _size(before))
        self._vectors[key] = vector
        while self._bytes > self._max_bytes:
            _, oldest = self._vectors.popitem(last=False)
            self._bytes -= _size(oldest)


def _size(vector: Vector) -> int:
    return vector.nbytes + _OVERHEAD
