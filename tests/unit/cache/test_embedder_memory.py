"""What is remembered: without a bound, every question ever asked would stay in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.embedders.memory import VectorMemory, digest
from tidegate.cache.entries import Vector


def vector(number: float, dimension: int = 4) -> Vector:
    return np.full(dimension, number, dtype=np.float32)


# Two entries of four numbers, and not three.
TWO = 2 * (16 + 400) + 100


def test_the_longest_unused_goes() -> None:
    memory = VectorMemory(TWO)
    memory.put(b"a", vector(1))
    memory.put(b"b", vector(2))
    assert memory.get(b"a") is not None
    memory.put(b"c", vector(3))
    assert memory.get(b"b") is None
    assert [memory.get(key) is not None for key in (b"a", b"c")] == [True, True]


def test_what_is_put_again_counts_once() -> None:
    memory = VectorMemory(TWO)
    for number in range(10):
        memory.put(b"a", vector(number))
    memory.put(b"b", vector(1))
    assert len(memory) == 2
    assert memory.get(b"a") == pytest.approx(vector(9))


def test_one_that_is_larger_than_all_there_is_is_not_kept() -> None:
    memory = VectorMemory(TWO)
    memory.put(b"a", vector(1, 10_000))
    assert len(memory) == 0
    memory.put(b"b", vector(1))
    assert len(memory) == 1


def test_nobody_spoils_another_ones_vector() -> None:
    memory = VectorMemory(TWO)
    memory.put(b"a", vector(1))
    kept = memory.get(b"a")
    assert kept is not None
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 2.0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 200)), max_size=60))
def test_it_stays_within_its_bound(puts: list[tuple[int, int]]) -> None:
    most = 3_000
    memory = VectorMemory(most)
    sizes: dict[bytes, int] = {}
    for key, dimension in puts:
        memory.put(bytes([key]), vector(1.0, dimension))
        sizes[bytes([key])] = 4 * dimension + 400
    kept = [key for key in sizes if memory.get(key) is not None]
    assert len(kept) == len(memory)
    assert sum(sizes[key] for key in kept) <= most


@given(st.text(), st.text())
def test_different_texts_are_different(one: str, other: str) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_half_a_surrogate_pair_is_a_text_too() -> None:
    assert digest("\ud83d") != digest("?")
