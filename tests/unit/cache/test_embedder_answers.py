"""What a provider may answer: a vector that is none would be stored, and compared for a day."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.embedders.answers import read_vectors
from tidegate.cache.embedding import EmbedderError

numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


def said(*vectors: Any) -> bytes:
    return msgspec.json.encode(
        [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
    )


@given(st.lists(numbers, min_size=1, max_size=50).filter(any))
def test_a_vector_has_length_one_and_its_direction(given_: list[float]) -> None:
    (vector,) = read_vectors(said(given_), 1, len(given_))
    assert vector.dtype == np.float32
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)
    expected = np.array(given_) / np.linalg.norm(given_)
    assert vector == pytest.approx(expected, abs=1e-6)


def test_they_come_in_the_order_of_their_index() -> None:
    turned = b'[{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 0]}]'
    first, second = read_vectors(turned, 2, None)
    assert (first.tolist(), second.tolist()) == ([1.0, 0.0], [0.0, 1.0])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no vector"),
        pytest.param(said([1.0], [1.0]), id="one too many"),
        pytest.param(b'[{"index": 1, "embedding": [1]}]', id="of another text"),
        pytest.param(said([]), id="no numbers"),
        pytest.param(said([0.0, 0.0]), id="zero"),
        pytest.param(said([1e-300, 0.0]), id="next to zero"),
        pytest.param(said([1e300, 1e300]), id="too long"),
        pytest.param(b'[{"index": 0, "embedding": [1e999, 1]}]', id="infinite"),
        pytest.param(b'[{"index": 0, "embedding": [NaN, 1]}]', id="not a number"),
        pytest.param(said([1.0, None]), id="a gap"),
        pytest.param(said(["1", "2"]), id="texts"),
        pytest.param(said("AACAPw=="), id="base64"),
        pytest.param(said([1.0] * 16_385), id="longer than any model's"),
        pytest.param(said(None), id="null"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_vector(data: bytes) -> None:
    with pytest.raises(EmbedderError) as caught:
        read_vectors(data, 1, None)
    assert not caught.value.passing


def test_another_dimension_than_the_others() -> None:
    with pytest.raises(EmbedderError, match="3 numbers in place of 2"):
        read_vectors(said([1, 2, 3]), 1, 2)
    with pytest.raises(EmbedderError, match="3 numbers in place of 2"):
        read_vectors(said([1, 2], [1, 2, 3]), 2, None)
