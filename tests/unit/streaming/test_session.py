"""What a socket does about whatever a client sends: never a crash, always a word."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.contracts.create import CreateBody, parse_create
from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.streaming import closing
from tidegate.streaming.closing import Close
from tidegate.streaming.requests import Cancel, Create, Subscribe, Unsubscribe
from tidegate.streaming.session import Action, Reply, Session

JOB = "job_" + "a" * 26

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
names = st.sampled_from(
    ["job_id", "after_sequence", "snapshot", "ref", "request", "request_id", "class", "ttl_s", "x"]
)
near_frames = st.builds(
    lambda kind, rest: {"type": kind, **rest},
    st.sampled_from(["subscribe", "unsubscribe", "create", "cancel", "hello"]) | json_values,
    st.dictionaries(names, json_values, max_size=5),
)


def say(session: Session, **frame: object) -> Action:
    return session.receive(json.dumps(frame).encode())


def error_of(action: Action) -> dict[str, Any]:
    assert isinstance(action, Reply)
    error: dict[str, Any] = msgspec.json.decode(action.frame)
    assert error["type"] == "error"
    assert error["code"] in set(Reason)
    return error


def check(action: Action) -> None:
    if isinstance(action, Close):
        assert action.code == 4400
        assert 0 < len(action.reason.encode()) <= 123
    elif isinstance(action, Reply):
        error_of(action)
    else:
        assert isinstance(action, Subscribe | Unsubscribe | Create | Cancel)


@given(st.binary())
@example(b"\x00")
@example(b"[" * 200_000)
@example(b'{"type":"subscribe","job_id":"x","after_sequence":' + b"9" * 5000 + b"}")
@example(b'{"type":"subscribe","job_id":"\xff"}')
@example(b'{"type":"create","request":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
def test_any_bytes_are_a_frame_an_error_or_a_bad_frame(data: bytes) -> None:
    check(Session(8).receive(data))


@given(json_values | near_frames)
def test_any_json_is_a_frame_an_error_or_a_bad_frame(value: object) -> None:
    check(Session(8).receive(json.dumps(value).encode()))


def test_frames_of_the_protocol_are_taken() -> None:
    session = Session(8)
    assert say(session, type="subscribe", job_id=JOB) == Subscribe(JOB, 0, False)
    assert say(session, type="subscribe", job_id=JOB, after_sequence=3, snapshot=True) == Subscribe(
        JOB, 3, True
    )
    assert say(session, type="unsubscribe", job_id=JOB) == Unsubscribe(JOB)
    assert say(session, type="cancel", job_id=JOB) == Cancel(JOB)
    created = say(session, type="create", ref="r", request={"model": "m"}, **{"class": "batch"})
    assert isinstance(created, Create)
    assert (created.ref, created.job_class) == ("r", "batch")
    assert json.loads(bytes(created.request)) == {"model": "m"}


def test_a_create_says_over_a_socket_what_it_says_over_http() -> None:
    body = {"request_id": "r", "class": "batch", "ttl_s": 9, "on_disconnect": "cancel"}
    created = say(Session(8), type="create", ref="r", request={}, **body)
    assert isinstance(created, Create)
    over_http = parse_create(json.dumps(body | {"request": {}}).encode())
    names = CreateBody.__struct_fields__
    assert [getattr(created, name) for name in names] == [
        getattr(over_http, name) for name in names
    ]
    assert set(Create.__struct_fields__) == {*names, "ref"}


@pytest.mark.parametrize(
    "fault", [{"ttl_s": 0}, {"ttl_s": 10**10}, {"on_disconnect": "explode"}, {"class": 1}]
)
def test_both_refuse_a_create_in_the_same_words(fault: dict[str, Any]) -> None:
    error = error_of(say(Session(8), type="create", request={}, **fault))
    with pytest.raises(InvalidRequest) as refused:
        parse_create(json.dumps(fault | {"request": {}}).encode())
    assert (error["message"], error["field"]) == (refused.value.message, refused.value.field)


@pytest.mark.parametrize("after", [-1, -(2**63), 2**53, 10**30])
def test_a_sequence_that_cannot_be_is_refused_and_the_socket_lives(after: int) -> None:
    session = Session(8)
    error = error_of(say(session, type="subscribe", job_id=JOB, after_sequence=after))
    assert (error["code"], error["field"], error["job_id"]) == (
        "INVALID_REQUEST",
        "after_sequence",
        JOB,
    )
    assert session.jobs == 0


def test_a_create_with_a_fault_is_an_error_that_names_the_field() -> None:
    """Not the end of a socket on which other jobs are being read."""
    session = Session(8)
    error = error_of(say(session, type="create", ref="r", request={}, colour=1))
    assert (error["code"], error["field"], error["ref"]) == ("UNSUPPORTED_FIELD", "colour", "r")
    error = error_of(say(session, type="create", ref="r"))
    assert (error["code"], error["field"]) == ("INVALID_REQUEST", "request")
    error = error_of(say(session, type="create", request={}, ref="r" * 1000))
    assert "ref" not in error


def test_jobs_are_bounded_and_count_once() -> None:
    session = Session(2)
    for job in ("a", "b", "a"):
        assert isinstance(say(session, type="subscribe", job_id=job), Subscribe)
    assert error_of(say(session, type="subscribe", job_id="c"))["code"] == "TOO_MANY_STREAMS"
    session.over("a")
    assert isinstance(say(session, type="subscribe", job_id="c"), Subscribe)
    say(session, type="unsubscribe", job_id="b")
    assert isinstance(say(session, type="subscribe", job_id="d"), Subscribe)
    assert session.jobs == 2


def test_only_who_asks_for_something_has_said_hello() -> None:
    session = Session(2)
    assert session.when_silent() == closing.NO_HELLO
    say(session, type="unsubscribe", job_id=JOB)
    assert session.when_silent() == closing.NO_HELLO
    say(session, type="create", request={})
    assert session.when_silent() is None


def test_every_reason_fits_into_a_close_frame() -> None:
    closes = [value for value in vars(closing).values() if isinstance(value, Close)]
    assert len(closes) >= 6
    for close in [*closes, closing.bad_frame("ü" * 200)]:
        assert len(close.reason.encode()) <= 123
