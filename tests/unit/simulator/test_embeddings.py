"""A semantic cache is developed against these vectors: they must be stable, unit and comparable."""

import base64
import math
import struct

import pytest

from tidegate.simulator.embeddings import embed, to_base64


def cosine(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed(one, 1536), embed(other, 1536), strict=True))


@pytest.mark.parametrize("dimensions", [1, 2, 384, 1536])
@pytest.mark.parametrize("text", ["a", "The tide comes in.", "  ", "潮が満ちる", "x" * 10_000])
def test_vectors_have_the_length_asked_for_and_norm_one(text: str, dimensions: int) -> None:
    vector = embed(text, dimensions)
    assert len(vector) == dimensions
    assert math.isclose(math.fsum(x * x for x in vector), 1.0, rel_tol=1e-5)


def test_the_same_text_gives_the_same_vector() -> None:
    assert embed("the tide", 64) == embed("the tide", 64)


def test_a_reworded_question_is_close_and_another_is_far() -> None:
    """Without this a semantic tier would have no hits in development at all."""
    asked = "How do I reset my password?"
    assert cosine(asked, "How can I reset my password") > 0.8
    assert cosine(asked, "What is the capital of France?") < 0.3
    assert cosine("a b", "b a") < 1.0


def test_base64_holds_little_endian_floats() -> None:
    vector = embed("the tide", 8)
    assert struct.unpack("<8f", base64.b64decode(to_base64(vector))) == tuple(vector)
