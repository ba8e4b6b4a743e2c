"""Where an SSE stream begins: at the right place, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.errors import InvalidRequest
from tidegate.streaming.positions import start_of


@pytest.mark.parametrize(
    ("query", "header", "after"),
    [
        ([], None, 0),
        ([("after_sequence", "7")], None, 7),
        ([], "8", 8),
        ([("after_sequence", "7")], "8", 8),
        ([("after_sequence", "8")], "7", 7),
        ([("after_sequence", "7")], "", 7),
        ([], " 9 ", 9),
    ],
)
def test_the_header_of_a_reconnect_goes_before_the_url(
    query: list[tuple[str, str]], header: str | None, after: int
) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}
    assert start_of(query, headers) == after


@given(st.text(max_size=30))
def test_any_header_is_a_number_or_refused(text: str) -> None:
    text = text.strip()
    if text == "" or (text.isascii() and text.isdigit() and len(text) < 16):
        assert start_of([], {"Last-Event-ID": text}) == int(text or 0)
    elif not (text.isascii() and text.isdigit()):
        with pytest.raises(InvalidRequest):
            start_of([], {"Last-Event-ID": text})


@pytest.mark.parametrize("query", [[("after_sequence", "1"), ("after_sequence", "2")], [("x", "")]])
def test_a_url_that_cannot_be_obeyed_is_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        start_of(query, {"Last-Event-ID": "7"})
    assert refused.value.field == query[0][0]
