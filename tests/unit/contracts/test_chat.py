"""The request body: what is refused says where, and equal requests have equal bytes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.chat import canonical_chat, parse_chat
from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.json_body import DEEPEST

USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "sim-1", "messages": [USER]}


def refusal(body: object, path: str = "") -> InvalidRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_chat(raw, path=path)
    return caught.value


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [USER, 5]}, "messages[1]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [USER | {"content": 5}]}, "messages[0].content"),
        ({"messages": [USER | {"content": ["hi"]}]}, "messages[0].content[0]"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"seed": 1.5}, "seed"),
        ({"stop": list("abcde")}, "stop"),
        ({"n": 2}, "n"),
        ({"response_format": "json"}, "response_format"),
        ({"tools": [5]}, "tools[0]"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 5}}, "metadata[...]"),
        ({"stream": "yes"}, "stream"),
        ({"messages": [USER | {"content": [{"a": nested(DEEPEST)}]}]}, "messages"),
        ({"tools": [{"parameters": nested(DEEPEST)}]}, "tools"),
        ({"response_format": {"schema": nested(DEEPEST)}}, "response_format"),
    ],
)
def test_a_refusal_names_the_field(change: dict[str, Any], field: str) -> None:
    """A caller who is only told "invalid" cannot mend the request."""
    error = refusal(BODY | change)
    assert error.field == field
    assert error.reason is Reason.INVALID_REQUEST
    assert error.message.startswith(field)
    assert refusal(BODY | change, path="chat_json").field == f"chat_json.{field}"


@pytest.mark.parametrize("name", ["model", "messages"])
def test_what_is_required_is_named(name: str) -> None:
    error = refusal({key: value for key, value in BODY.items() if key != name})
    assert error.field == name
    assert "required" in error.message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (BODY | {"audio": {}}, "audio"),
        (BODY | {"service_tier": "flex"}, "service_tier"),
        (BODY | {"messages": [USER | {"audio": 1}]}, "messages[0].audio"),
    ],
)
def test_a_field_that_is_not_offered_is_refused_and_never_ignored(body: object, field: str) -> None:
    """A caller would believe that it was obeyed."""
    error = refusal(body)
    assert error.field == field
    assert error.reason is Reason.UNSUPPORTED_FIELD


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"model":"\xff"}', b"[]", b"null", b"5 5"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(body).field is None
    assert refusal(body, path="chat_json").field == "chat_json"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"model":[', b'{"messages":['])
def test_a_body_of_brackets_is_refused(opening: bytes) -> None:
    """Deep nesting must not become an internal error, nor a job that no worker can read."""
    refusal(opening * 200_000)


def test_nesting_that_real_schemas_have_is_taken() -> None:
    tools = [{"type": "function", "function": {"parameters": nested(40)}}]
    assert json.loads(canonical_chat(parse_chat(json.dumps(BODY | {"tools": tools}).encode())))


def test_content_of_the_request_is_not_repeated_in_the_refusal() -> None:
    """Error messages are logged; prompts must not be."""
    error = refusal(BODY | {"messages": [{"role": "user", "content": {"secret": "xyzzy"}}]})
    assert "xyzzy" not in error.message


@pytest.mark.parametrize(
    "change", [{"x" * 10_000: 1}, {"messages": [{"role": "x" * 10_000}]}], ids=["name", "value"]
)
def test_a_refusal_is_short_however_long_the_fault(change: dict[str, Any]) -> None:
    """One of megabytes would not fit into the trailers of a gRPC answer."""
    error = refusal(BODY | change)
    assert len(error.message) < 500
    assert len(error.field or "") < 500


def test_stream_is_taken_and_dropped() -> None:
    """The same request, streamed or not, is the same job."""
    assert canonical_chat(parse_chat(json.dumps(BODY | {"stream": True}).encode())) == (
        canonical_chat(parse_chat(json.dumps(BODY).encode()))
    )


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=10,
)
objects = st.dictionaries(st.text(max_size=6), json_values, max_size=4)
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
messages = st.fixed_dictionaries(
    {"role": roles},
    optional={
        "content": st.none() | st.text() | st.lists(objects, max_size=3),
        "name": st.text(),
        "tool_calls": st.lists(objects, max_size=2),
        "refusal": st.none() | st.text(),
    },
)
bodies = st.fixed_dictionaries(
    {
        "model": st.text(min_size=1, max_size=20),
        "messages": st.lists(messages, min_size=1, max_size=3),
    },
    optional={
        "max_tokens": st.none() | st.integers(1, 9999),
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "seed": st.none() | st.integers(-(2**63), 2**63),
        "stop": st.none() | st.text() | st.lists(st.text(), max_size=4),
        "response_format": objects,
        "tools": st.lists(objects, max_size=3),
        "metadata": st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
        "stream": st.none() | st.booleans(),
    },
)


def shuffled(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    if isinstance(value, list):
        return [shuffled(each, draw) for each in value]
    return value


@given(bodies, st.data())
def test_equal_bodies_have_equal_bytes_however_they_are_written(
    body: dict[str, Any], data: st.DataObject
) -> None:
    """A repeat through another library would be a conflict, or miss the cache."""
    one = json.dumps(body).encode()
    other = json.dumps(
        shuffled(body, data.draw), indent=data.draw(st.integers(0, 3)), ensure_ascii=False
    ).encode()
    canonical = canonical_chat(parse_chat(one))
    assert canonical_chat(parse_chat(other)) == canonical
    assert canonical_chat(parse_chat(canonical)) == canonical
    assert canonical_chat(parse_chat(msgspec.Raw(one))) == canonical


@given(bodies)
def test_nothing_of_a_body_is_lost_or_added(body: dict[str, Any]) -> None:
    canonical = json.loads(canonical_chat(parse_chat(json.dumps(body).encode())))
    expected = {key: value for key, value in body.items() if key != "stream"}
    expected["messages"] = [
        {key: value for key, value in message.items() if (key, value) != ("content", None)}
        for message in body["messages"]
    ]
    assert canonical == expected


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    """Anything else is an internal error and pages somebody."""
    try:
        canonical_chat(parse_chat(body))
    except InvalidRequest:
        return


@given(bodies, st.text(max_size=12), json_values)
def test_no_json_raises_anything_but_a_refusal(
    body: dict[str, Any], name: str, value: object
) -> None:
    for changed in (body | {name: value}, body | {"messages": value}, body | {"tools": value}):
        try:
            canonical_chat(parse_chat(json.dumps(changed).encode()))
        except InvalidRequest as error:
            refused = error
        else:
            continue
        assert refused.message
