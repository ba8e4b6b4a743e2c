"""The request body: what is refused says where, and equal requests have equal bytes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.chat import canonical_chat, parse_chat
from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.extra import require_offered
from tidegate.contracts.json_body import DEEPEST, MOST_VALUES

USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "sim-1", "messages": [USER]}


def refusal(body: object, path: str = "") -> InvalidRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        require_offered(parse_chat(raw, path=path).extra, frozenset(), path=path)
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
        ({"seed": 2**63}, "seed"),
        ({"seed": 10**400}, "seed"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"stop": list("abcde")}, "stop"),
        ({"n": 2}, "n"),
        ({"response_format": "json"}, "response_format"),
        ({"tools": [5]}, "tools[0]"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 5}}, "metadata[...]"),
        ({"stream": "yes"}, "stream"),
        ({"messages": [USER | {"content": [{"type": nested(DEEPEST)}]}]}, "messages"),
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
parts = objects.map(lambda part: part | {"type": "image_url"})
calls = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=6),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.just("f"), "arguments": st.text()}),
    }
)
contents = st.text() | st.lists(parts, min_size=1, max_size=3)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": contents},
        optional={"name": st.text(), "refusal": st.none() | st.text()},
    ),
    st.fixed_dictionaries(
        {"role": st.just("tool"), "content": contents, "tool_call_id": st.just("call_1")}
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.none() | contents,
            "tool_calls": st.lists(calls, min_size=1, max_size=2),
        },
        optional={"reasoning_content": st.none() | st.text()},
    ),
)
bodies = st.fixed_dictionaries(
    {
        "model": st.text(min_size=1, max_size=20),
        "messages": st.lists(messages, min_size=1, max_size=3),
    },
    optional={
        "max_tokens": st.none() | st.integers(1, 9999),
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
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


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user"}, "content"),
        ({"role": "system", "content": None}, "content"),
        ({"role": "tool", "tool_call_id": "1"}, "content"),
        ({"role": "assistant"}, "content"),
        ({"role": "assistant", "content": None}, "content"),
        (USER | {"content": []}, "content"),
        (USER | {"content": [{"text": "hi"}]}, "content[0].type"),
        (USER | {"content": [{"type": "text"}, {"type": 5}]}, "content[1].type"),
        (USER | {"content": [{"type": ""}]}, "content[0].type"),
        ({"role": "tool", "content": "5"}, "tool_call_id"),
        ({"role": "tool", "content": "5", "tool_call_id": ""}, "tool_call_id"),
        (USER | {"tool_call_id": "1"}, "tool_call_id"),
        (USER | {"tool_calls": []}, "tool_calls"),
        ({"role": "assistant", "content": "", "tool_calls": []}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, "tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "tool_calls[0].type"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function"}]},
            "tool_calls[0].function",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
            },
            "tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_message_that_no_provider_takes_is_refused_before_it_waits(
    message: dict[str, Any], field: str
) -> None:
    """Else its caller would learn so from a job that waited, ran and failed."""
    error = refusal(BODY | {"messages": [USER, message]})
    assert error.field == f"messages[1].{field}"
    assert error.message.startswith(f"messages[1].{field} ")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "refusal": "no"},
        {"role": "assistant", "content": "hi", "tool_calls": None, "refusal": None},
        {"role": "user", "content": "", "name": "me"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]},
    ],
)
def test_a_message_that_clients_send_is_taken(message: dict[str, Any]) -> None:
    parse_chat(json.dumps(BODY | {"messages": [message]}).encode())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"a","model":"b","messages":[{"role":"user","content":"x"}]}', "model"),
        (b'{"model":"a","messages":[{"role":"user","content":"x","content":"y"}]}', "content"),
        (b'{"model":"a","messages":[{"role":"user","content":"x"}],"x":{"y":1,"y":2}}', "y"),
        (
            b'{"model":"a","messages":[{"role":"user","content":"x"}],"x":{"\\ud800":1,"\\ud800":2}}',
            "",
        ),
    ],
)
def test_a_key_that_is_given_twice_is_refused(body: bytes, field: str) -> None:
    """The provider might obey the one that was not checked."""
    error = refusal(body)
    assert field in (error.field or "")
    error.message.encode()


def test_extra_fields_are_part_of_the_request_where_the_route_offers_them() -> None:
    """What changes the answer must be in the hash, and so in whatever is kept by it."""
    plain, warm, hot = (
        parse_chat(json.dumps(BODY | extra).encode())
        for extra in ({}, {"top_k": 5, "best": {"b": 1, "a": 2}}, {"top_k": 6})
    )
    for chat in (plain, warm):
        require_offered(chat.extra, frozenset({"top_k", "best"}))
    with pytest.raises(InvalidRequest) as caught:
        require_offered(hot.extra, frozenset({"best"}), path="request")
    assert caught.value.field == "request.top_k"
    assert canonical_chat(warm) == (
        b'{"best":{"a":2,"b":1},"messages":[{"content":"hi","role":"user"}],"model":"sim-1",'
        b'"top_k":5}'
    )
    assert len({canonical_chat(each) for each in (plain, warm, hot)}) == 3


@pytest.mark.parametrize("value", [nested(DEEPEST + 1), 10**400])
def test_an_extra_field_is_checked_like_any_other(value: object) -> None:
    assert (refusal(BODY | {"top_k": value}).field or "").startswith("top_k")


def test_what_a_surface_reads_for_itself_is_no_extra_field() -> None:
    body = json.dumps(BODY | {"service_tier": "flex"}).encode()
    chat = parse_chat(body, apart=frozenset({"service_tier"}))
    assert canonical_chat(chat) == canonical_chat(parse_chat(json.dumps(BODY).encode()))


@pytest.mark.parametrize("value", ["{}", "[]", "1", '"a"', '{"a":1}'])
def test_a_body_of_very_many_values_is_refused_before_it_is_read(value: str) -> None:
    """A few MiB of such values would keep the process from everything else for seconds."""
    many = ",".join([value] * (MOST_VALUES + 1))
    refused = refusal(f'{{"model":"sim-1","messages":[{{}}],"tools":[{many}]}}'.encode())
    assert f"more than {MOST_VALUES} values" in refused.message


@pytest.mark.parametrize("text", ["a,b,[{", '\\"', "\\\\", '\\\\\\",[{'])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    content = text * MOST_VALUES
    body = f'{{"model":"sim-1","messages":[{{"role":"user","content":"{content}"}}]}}'.encode()
    assert canonical_chat(parse_chat(body))
