"""The splitter: a network cuts where it likes, and an answer must not change with it."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.providers import sse
from tidegate.providers.sse import EventTooLargeError, SseSplitter

LINE_ENDS = ["\n", "\r\n", "\r"]


def reference(stream: bytes) -> list[bytes]:
    """The standard's algorithm, line by line over the whole; the last event need not be ended."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                events.append(b"\n".join(data))
            data = []
            continue
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
    return events


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    splitter, events = SseSplitter(), []
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        events += splitter.feed(stream[start:end])
    return events + splitter.close()


contents = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8)
lines = st.one_of(
    contents.map("data: {}".format),
    contents.map("data:{}".format),
    contents.map(": {}".format),
    contents.map("event: {}".format),
    st.sampled_from(["data", "data:", "id: 7", "retry: 10", "", "", "datum: x", ":", "\u00e9"]),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines of every kind with every line end, mixed as no server should."""
    parts = [line + draw(st.sampled_from(LINE_ENDS)) for line in draw(st.lists(lines, max_size=14))]
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    return (mark + "".join(parts) + draw(st.sampled_from(["", "data: [DONE]"]))).encode()


@given(streams(), st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10])
@example("data: \u6f6e\n\n".encode(), [7, 8])
def test_the_events_are_the_same_however_the_stream_is_cut(stream: bytes, cuts: list[int]) -> None:
    assert split(stream, cuts) == reference(stream)


@given(streams())
def test_byte_by_byte_is_no_exception(stream: bytes) -> None:
    assert split(stream, list(range(len(stream)))) == reference(stream)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_an_event_is_handed_on_with_the_byte_that_ends_it(end: str) -> None:
    """Waiting for one more byte would delay every token by one."""
    splitter = SseSplitter()
    assert splitter.feed(f"data: a{end}".encode()) == []
    assert splitter.feed(end.encode()) == [b"a"]


def test_an_event_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LARGEST_EVENT", 100)
    splitter = SseSplitter()
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLargeError):
        splitter.feed(b"x" * 90)
