"""Events and lines: what one release writes, this and the next must read."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import deltas, marks, terminals, waits
from tidegate.contracts.events import (
    LOG_VERSION,
    Append,
    AttemptStarted,
    CorruptLogError,
    Delta,
    Event,
    JobState,
    decode_append,
    decode_event,
    encode_append,
    encode_event,
    event_type,
)

starts = st.builds(
    AttemptStarted,
    attempt=st.integers(1, 9),
    worker=st.text(),
    continues=st.booleans(),
    cache=marks,
)
anything: st.SearchStrategy[Event] = st.one_of(deltas, waits, terminals, starts)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(anything)
def test_an_event_reads_back_as_it_was_written(event: Event) -> None:
    raw = encode_event(event)
    assert bytes(raw).startswith(b'{"type":"')
    assert b"\n" not in bytes(raw)
    assert decode_event(raw) == event
    assert event_type(raw) == event.__struct_config__.tag


@given(anything, st.text().filter(lambda name: name != "type"), json_values)
def test_a_field_of_a_later_release_is_passed_over(event: Event, name: str, value: object) -> None:
    """Else the workers could never be updated before the readers, nor the other way round."""
    fields = msgspec.json.decode(encode_event(event))
    if name in fields:
        return
    wider = msgspec.json.encode(fields | {name: value})
    assert decode_event(wider) == event


def test_a_line_with_a_field_of_a_later_release_is_read() -> None:
    line = b'{"attempt":1,"first":1,"at_ms":5,"events":[],"v":1,"trace":{"a":[1]}}'
    assert decode_append(line) == Append(1, 1, 5, [])


@given(st.text().filter(lambda name: name not in {"", "delta"}), json_values)
def test_a_type_of_a_later_release_is_none_and_no_error(name: str, value: object) -> None:
    known = {"attempt_started", "waiting", "completed", "failed", "cancelled", "expired"}
    if name not in known:
        assert decode_event(msgspec.json.encode({"type": name, "data": value})) is None


def test_the_version_stands_in_every_line() -> None:
    """A release that changes the format must be able to tell old lines from new."""
    line = msgspec.json.decode(encode_append(Append(1, 1, 5, [])))
    assert line == {"attempt": 1, "first": 1, "at_ms": 5, "events": [], "v": LOG_VERSION}


def test_a_newer_line_format_is_refused_and_never_guessed_at() -> None:
    """After a rollback a reader must say that it cannot read, not show half an answer."""
    line = encode_append(Append(1, 1, 5, [], v=LOG_VERSION + 1))
    with pytest.raises(CorruptLogError, match="newer"):
        decode_append(line)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"5",
        b"{}",
        b'{"type":5}',
        b'{"type":null}',
        b'{"type":"delta"}',
        b'{"type":"delta","data":5}',
        b'{"type":"delta","data":"x","kind":"type"}',
        b'{"type":"delta","data":"\xff"}',
        b'{"type":"delta","data":' + b"[" * 100_000,
        b'{"type":"completed"}',
    ],
)
def test_an_event_that_is_none_is_an_error_that_readers_know(raw: bytes) -> None:
    """Any other error would pass the reader's handling and end it for all its clients."""
    with pytest.raises(CorruptLogError):
        decode_event(raw)


@given(st.binary(max_size=80) | json_values.map(msgspec.json.encode))
def test_no_bytes_get_past_the_decoders(raw: bytes) -> None:
    for decode in (decode_event, decode_append):
        with contextlib.suppress(CorruptLogError):
            decode(raw)


@pytest.mark.parametrize(
    "line",
    [
        b'{"attempt":1,"first":1,"at_ms":5,"events":[' + b"[" * 100_000,
        b'{"attempt":"1","first":1,"at_ms":5,"events":[]}',
        b'{"attempt":1,"first":1,"at_ms":5,"events":[],"log":"\xff"}',
    ],
)
def test_a_line_that_is_none_is_an_error_that_readers_know(line: bytes) -> None:
    with pytest.raises(CorruptLogError):
        decode_append(line)


def test_a_line_keeps_its_events_as_they_were_written() -> None:
    """Readers pass bytes on: re-encoding could change what another release had written."""
    odd = b'{"type":"delta", "data":"\\u00e9", "later":1}'
    line = decode_append(b'{"attempt":1,"first":4,"at_ms":5,"events":[' + odd + b"]}")
    assert bytes(line.events[0]) == odd
    assert line.last == 4
    assert decode_event(line.events[0]) == Delta("é")


def test_only_the_four_ends_are_terminal() -> None:
    assert {state for state in JobState if state.terminal} == {
        "completed",
        "failed",
        "cancelled",
        "expired",
    }
