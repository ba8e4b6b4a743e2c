"""Frames: what a client parses, made without parsing."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from tidegate.contracts.errors import InvalidRequest, ResourceExhausted
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CacheMark,
    Delta,
    decode_append,
    encode_append,
    encode_event,
)
from tidegate.contracts.fold import Fold
from tidegate.eventlog.tail import Entry
from tidegate.streaming import frames

JOB = "job_" + "a" * 26
HEAD = frames.head_of(JOB)


def entry(sequence: int, event: Delta | AttemptStarted, at_ms: int = 1_700_000_000_000) -> Entry:
    """An entry as a reader has it: a view into a stored line."""
    line = encode_append(Append(1, sequence, at_ms, [encode_event(event)]))
    return Entry(sequence, at_ms, 1, decode_append(line).events[0])


@given(st.text(), st.integers(1, 2**53), st.integers(0, 2**53))
def test_a_frame_is_the_stored_event_with_its_place(text: str, sequence: int, at_ms: int) -> None:
    frame = json.loads(frames.event_frame(HEAD, entry(sequence, Delta(text), at_ms)))
    assert frame == {
        "job_id": JOB,
        "sequence": sequence,
        "at_ms": at_ms,
        "type": "delta",
        "data": text,
        "kind": "text",
        "choice": 0,
    }


def test_a_type_of_a_later_release_passes_through() -> None:
    """A client that knows it must not wait for the servers in between."""
    raw = msgspec.Raw(b'{"type":"applause","loud":[1,{"x":null}]}')
    frame = json.loads(frames.event_frame(HEAD, Entry(1, 2, 1, raw)))
    assert frame["loud"] == [1, {"x": None}]


@given(st.binary(max_size=200) | st.sampled_from([b"x" * n for n in (125, 126, 65535, 65536)]))
def test_a_message_is_framed_as_the_library_frames_it(payload: bytes) -> None:
    assert frames.text_message(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(st.text())
def test_no_text_can_break_out_of_its_sse_event(text: str) -> None:
    block = frames.sse_event(HEAD, entry(7, Delta(text)))
    lines = block.split(b"\n")
    assert lines[0] == b"id: 7"
    assert lines[1].startswith(b"data: {")
    assert lines[2:] == [b"", b""]
    assert b"\r" not in block
    assert json.loads(lines[1][6:])["data"] == text


def test_a_chunk_is_bounded_and_never_empty() -> None:
    entries = [entry(number, Delta("x" * 1000)) for number in range(1, 20)]
    count, data = frames.take(entries, HEAD, frames.sse_event, 5000)
    assert count == 5
    assert data.count(b"\n\n") == 5
    assert frames.take(entries, HEAD, frames.sse_event, 1)[0] == 1
    assert frames.take([], HEAD, frames.sse_event, 1) == (0, b"")


def test_errors_carry_what_is_known_and_no_nulls() -> None:
    plain = json.loads(frames.error(InvalidRequest("bad")))
    assert plain == {"type": "error", "code": "INVALID_REQUEST", "message": "bad"}
    full = ResourceExhausted("full", field="class", retry_after=2.0)
    assert json.loads(frames.error(full, job_id=JOB, ref="r")) == {
        "type": "error",
        "code": "QUEUE_FULL",
        "message": "full",
        "field": "class",
        "job_id": JOB,
        "ref": "r",
        "retry_after": 2.0,
    }


def test_a_snapshot_says_which_attempt_it_is_of() -> None:
    folded = Fold()
    assert json.loads(frames.snapshot(JOB, folded))["text"] == ""
    started = encode_event(AttemptStarted(1, "w"))
    call = Delta('{"index":0,"function":{"name":"f","arguments":"{}"}}', kind="tool_call")
    folded.take(Append(1, 1, 0, [started, encode_event(Delta("hi")), encode_event(call)]))
    assert json.loads(frames.snapshot(JOB, folded)) == {
        "type": "snapshot",
        "job_id": JOB,
        "sequence": 3,
        "attempt": 1,
        "text": "hi",
        "tool_calls": [{"id": "", "name": "f", "arguments": "{}"}],
    }


def test_where_an_answer_comes_from_is_seen_live_and_by_who_joins_late() -> None:
    """Who asks for the text so far gets no event of the attempt's beginning."""
    begun = AttemptStarted(1, "w", cache=CacheMark("semantic", 0.95, 90_000, "job_a", "e1"))
    mark = {"tier": "semantic", "score": 0.95, "age_ms": 90_000, "source": "job_a", "entry": "e1"}
    assert json.loads(frames.event_frame(HEAD, entry(1, begun)))["cache"] == mark
    folded = Fold()
    folded.take(Append(1, 1, 0, [encode_event(begun)]))
    assert json.loads(frames.snapshot(JOB, folded))["cache"] == mark


def test_the_servers_own_frames() -> None:
    assert json.loads(frames.created(b'{"id":"x"}', "r")) == {
        "type": "created",
        "job": {"id": "x"},
        "ref": "r",
    }
    assert "ref" not in json.loads(frames.created(b"{}", None))
    assert json.loads(frames.cancel_accepted(JOB)) == {"type": "cancel_accepted", "job_id": JOB}
    assert json.loads(frames.ended(JOB, 3)) == {"type": "ended", "job_id": JOB, "sequence": 3}
