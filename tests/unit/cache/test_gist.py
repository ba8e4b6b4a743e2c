"""Whether two answers agree. Who lost this would serve one of two answers by a toss."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.test_decision import candidate
from tidegate.cache.entries import Entry, Vector
from tidegate.cache.gist import agree, gist_of

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=8, max_size=8)


def unit(numbers: list[float]) -> Vector:
    vector = np.array(numbers, dtype=np.float32)
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-3 else np.eye(8, dtype=np.float32)[0]


def saying(text: str, gist: str) -> Entry:
    return replace(candidate(1.0).entry, text=text, gist=gist)


@given(NUMBERS, NUMBERS)
def test_bytes_tell_what_the_vectors_tell(one: list[float], other: list[float]) -> None:
    ours, theirs = unit(one), unit(other)
    cosine = float(ours @ theirs)
    entries = saying("a", gist_of(ours)), saying("b", gist_of(theirs))
    assert agree(*entries, cosine - 0.03)
    assert not agree(*entries, cosine + 0.03)


def test_equal_texts_agree_whatever_else() -> None:
    apart = gist_of(unit([1, 0, 0, 0, 0, 0, 0, 0])), gist_of(unit([0, 1, 0, 0, 0, 0, 0, 0]))
    assert agree(saying("same", apart[0]), saying(" same", apart[1]), 0.99)


def test_what_is_not_known_speaks_against_nothing() -> None:
    known = gist_of(unit([1] * 8))
    for gist in ("", "!", "AAAA", gist_of(np.zeros(8, dtype=np.float32))):
        assert agree(saying("a", known), saying("b", gist), 0.99)
