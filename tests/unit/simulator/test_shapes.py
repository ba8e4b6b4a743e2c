"""An agent that is developed against a model which never calls a tool meets its first one live."""

import json
from typing import Any

import pytest

from tidegate.simulator.errors import ProviderError
from tidegate.simulator.requests import read_chat
from tidegate.simulator.shapes import Reply, filled, reply_to

USER = {"role": "user", "content": "How high is the tide?"}
RESULT: list[dict[str, Any]] = [
    {"role": "assistant", "tool_calls": []},
    {"role": "tool", "tool_call_id": "call_1", "content": "3 m"},
]
HARBOUR = {
    "type": "object",
    "properties": {"harbour": {"type": "string"}, "hours": {"type": "integer", "minimum": 2}},
    "required": ["harbour"],
}
TOOLS = [
    {"type": "function", "function": {"name": "tide_at", "parameters": HARBOUR}},
    {"type": "function", "function": {"name": "close_gate"}},
]


def reply(*more: dict[str, Any], **fields: Any) -> Reply:
    body = {"model": "sim", "messages": [USER, *more]} | fields
    return reply_to(1, *read_chat(json.dumps(body).encode()))


def called(answer: Reply) -> list[str]:
    return [call["function"]["name"] for call in answer.message().get("tool_calls", [])]


def test_the_first_tool_is_called_with_arguments_of_the_right_types() -> None:
    answer = reply(tools=TOOLS)
    [call] = answer.message()["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["harbour"].isalpha()
    assert arguments["hours"] == 2
    assert (call["function"]["name"], answer.finish_reason) == ("tide_at", "tool_calls")
    assert call["id"].startswith("call_")


def test_the_deltas_of_a_stream_join_to_the_call_of_one_piece() -> None:
    answer = reply(tools=TOOLS, parallel_tool_calls=True)
    calls: dict[int, dict[str, Any]] = {}
    for token in answer.tokens():
        [fragment] = json.loads(token)["tool_calls"]
        if "id" in fragment:
            calls[fragment.pop("index")] = fragment
        else:
            arguments = fragment["function"]["arguments"]
            calls[fragment["index"]]["function"]["arguments"] += arguments
    assert answer.whole_deltas
    assert list(calls.values()) == answer.message()["tool_calls"]
    assert len(list(answer.tokens())) == answer.length > len(calls)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["tide_at"]),
        ({"tool_choice": "auto"}, ["tide_at"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "close_gate"}}}, ["close_gate"]),
        ({"parallel_tool_calls": True}, ["tide_at", "close_gate"]),
        ({"parallel_tool_calls": False}, ["tide_at"]),
    ],
)
def test_the_caller_chooses_which_tools_are_called(fields: Any, names: list[str]) -> None:
    assert called(reply(tools=TOOLS, **fields)) == names


def test_a_tools_result_is_answered_in_prose_unless_a_call_is_demanded() -> None:
    assert called(reply(*RESULT, tools=TOOLS)) == []
    assert reply(*RESULT, tools=TOOLS).message()["content"].endswith(".")
    assert called(reply(*RESULT, tools=TOOLS, tool_choice="required")) == ["tide_at"]


def test_a_tool_that_is_not_on_offer_is_a_400() -> None:
    with pytest.raises(ProviderError) as raised:
        reply(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "sail"}})
    assert (raised.value.status, raised.value.param) == (400, "tool_choice")


def test_the_same_question_calls_with_the_same_arguments() -> None:
    assert reply(tools=TOOLS).message() == reply(tools=TOOLS).message()


@pytest.mark.parametrize("fields", [{"tools": TOOLS}, {"response_format": {"type": "json_object"}}])
def test_a_limit_breaks_the_answer_off_and_says_so(fields: Any) -> None:
    whole = reply(**fields)
    short = reply(max_tokens=2, **fields)
    assert (short.length, short.finish_reason) == (2, "length")
    assert list(whole.tokens())[:2] == list(short.tokens())
    assert reply(max_tokens=500, **fields).finish_reason == whole.finish_reason != "length"


def test_json_is_answered_where_it_is_asked_for() -> None:
    schema = {"name": "tide", "schema": HARBOUR}
    answer = reply(response_format={"type": "json_schema", "json_schema": schema})
    text = answer.message()["content"]
    assert json.loads(text).keys() == {"harbour", "hours"}
    assert json.loads(b'"%b"' % b"".join(answer.tokens())) == text
    assert isinstance(
        json.loads(reply(response_format={"type": "json_object"}).message()["content"]), dict
    )
    assert reply(response_format={"type": "text"}).message()["content"].endswith(".")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 5}, 5),
        ({"enum": ["ebb", "flood"]}, "ebb"),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "minimum": -5, "maximum": 5}, 1),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"const": "é"}}, ["é"]),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"const": 7}}}, 7),
        ({"$ref": "#/$defs/none"}, None),
        ({"$ref": "#", "const": 1}, None),
        ({"type": "object", "properties": 5}, {}),
        ({"properties": {"a": {"const": 1}}}, {"a": 1}),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert filled(schema, 1) == value


def test_a_schema_without_end_has_an_answer_all_the_same() -> None:
    tree = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefgh"}}
    assert len(json.dumps(filled(tree, 1))) < 20_000
