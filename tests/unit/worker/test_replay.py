"""A hit in pieces: a character more or less is another answer."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate.worker.replay import pieces

_LONGEST = 16 + 3 * 24 + 2 * 4


@given(st.text())
def test_nothing_is_lost_between_the_pieces(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= _LONGEST for piece in found)


@given(st.text(alphabet=" \n\tab", max_size=400))
def test_nor_in_a_desert_of_white_space(text: str) -> None:
    found = list(pieces(text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= _LONGEST for piece in found)


def test_a_sentence_comes_in_a_few_words_at_a_time() -> None:
    assert list(pieces("When does the tide turn? At four.")) == [
        "When does the",
        " tide turn? At",
        " four.",
    ]


def test_a_text_without_spaces_is_not_one_piece() -> None:
    assert max(map(len, pieces("潮" * 1000))) == 24
