"""The body of a create: taken whole or refused by name, whatever the bytes are."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.contracts.create import CreateBody, parse_create
from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.jobs import JobClass

CHAT = {"model": "m", "messages": []}


def refusal(body: object) -> InvalidRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_create(raw)
    return caught.value


def test_what_is_asked_is_taken() -> None:
    asked = parse_create(
        json.dumps(
            {
                "request": CHAT,
                "request_id": "r",
                "class": "batch",
                "ttl_s": 60,
                "on_disconnect": "detach",
            }
        ).encode()
    )
    assert json.loads(bytes(asked.request)) == CHAT
    assert (asked.request_id, asked.job_class, asked.ttl_s) == ("r", JobClass.BATCH, 60.0)
    assert asked.on_disconnect == "detach"


def test_null_is_what_is_not_said() -> None:
    plain = parse_create(b'{"request":{}}')
    nulls = dict.fromkeys(("request_id", "class", "ttl_s", "on_disconnect"))
    assert parse_create(json.dumps(nulls | {"request": {}}).encode().replace(b" ", b"")) == plain


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request_id": 5}, "request_id"),
        ({"class": "urgent"}, "class"),
        ({"ttl_s": "60"}, "ttl_s"),
        ({"ttl_s": 0}, "ttl_s"),
        ({"ttl_s": -1}, "ttl_s"),
        ({"ttl_s": 10**10}, "ttl_s"),
        ({"ttl_s": True}, "ttl_s"),
        ({"on_disconnect": "explode"}, "on_disconnect"),
    ],
)
def test_a_refusal_names_the_field_as_the_caller_wrote_it(
    change: dict[str, Any], field: str
) -> None:
    error = refusal({"request": CHAT} | change)
    assert (error.field, error.reason) == (field, Reason.INVALID_REQUEST)
    assert error.message.startswith(field)


def test_what_is_missing_or_not_offered_is_named() -> None:
    assert refusal({}).field == "request"
    error = refusal({"request": CHAT, "priority": 9})
    assert (error.field, error.reason) == ("priority", Reason.UNSUPPORTED_FIELD)


@given(st.binary())
@example(b'{"request":' + b"[" * 3000)
@example(b'{"request":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
@example(b'{"x":' + b'{"a":' * 3000)
@example(b'{"request":' + b"9" * 5000 + b"}")
@example(b'{"ttl_s":1e999,"request":{}}')
@example(b'{"request":{},"request_id":"\\ud800"}')
@example(b'{"request":"\xff"}')
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    """Anything else is an internal error and pages somebody."""
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse_create(body), CreateBody)
