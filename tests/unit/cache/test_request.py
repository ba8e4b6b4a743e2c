"""What a lookup is about. Who lost this would get another tenant's, model's or talk's answer."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cache_parts import chat, says
from tidegate.cache.entries import is_entry_id
from tidegate.cache.request import (
    Bypass,
    ExactOnly,
    Limits,
    Prompt,
    normalised,
    read_prompt,
)

QUESTION = "What does it cost?"
LIMITS = Limits()
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def read(body: bytes, tenant: str = "acme", model: str = "sim-1") -> Prompt | Bypass:
    return read_prompt(tenant, model, body, LIMITS)


def prompt(*messages: Any, tenant: str = "acme", model: str = "sim-1", **fields: Any) -> Prompt:
    found = read(chat(*messages, **fields), tenant, model)
    assert isinstance(found, Prompt), found
    return found


def names(each: Prompt) -> tuple[str, str]:
    """What must differ where an answer must not be shared."""
    return each.key, each.scope("words-1")


def test_a_plain_question_can_be_cached() -> None:
    found = prompt(QUESTION)
    assert found.question == QUESTION
    assert found.exact_only is None
    assert len(found.key) == 64
    assert int(found.key, 16)
    assert str(uuid.UUID(found.entry_id)) == found.entry_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Bypass.UNREADABLE),
        (b"\xff\x00\xfe", Bypass.UNREADABLE),
        (b"[]", Bypass.UNREADABLE),
        (b'{"model": "m"}', Bypass.UNREADABLE),
        (b'{"model": "m", "messages": []}', Bypass.UNREADABLE),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', Bypass.UNREADABLE),
        (b"[" * 100_000, Bypass.UNREADABLE),
        (chat(QUESTION, n=2), Bypass.UNREADABLE),
        (chat(QUESTION, metadata={"tidegate_cache": "no-store"}), Bypass.NO_STORE),
        (chat(QUESTION, tools=[{"type": "function"}]), Bypass.TOOLS),
        (chat(QUESTION, tool_choice="none"), Bypass.TOOLS),
        (chat(QUESTION, functions=[{"name": "f"}]), Bypass.TOOLS),
        (chat(QUESTION, web_search_options={"user_location": None}), Bypass.TOOLS),
        (chat({"role": "tool", "content": "4", "tool_call_id": "c"}, QUESTION), Bypass.TOOLS),
        (chat({"role": "user", "content": [IMAGE]}), Bypass.MULTIMODAL),
        (
            chat({"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}),
            Bypass.MULTIMODAL,
        ),
        (chat({"role": "user", "content": [IMAGE]}, QUESTION), Bypass.MULTIMODAL),
        (chat(QUESTION, modalities=["audio"]), Bypass.MULTIMODAL),
        (chat(QUESTION, temperature=0.71), Bypass.TEMPERATURE),
        (chat(QUESTION, logprobs=True), Bypass.LOGPROBS),
        (chat(QUESTION, logprobs=True, top_logprobs=2), Bypass.LOGPROBS),
        (chat(QUESTION, says("assistant", "Ten.")), Bypass.NOT_A_QUESTION),
        (chat(says("system", QUESTION)), Bypass.NOT_A_QUESTION),
        (chat(""), Bypass.EMPTY),
        (chat(" \n\t "), Bypass.EMPTY),
        (chat("é" * 16_385), Bypass.TOO_LONG),
        (chat("a" * 1_000_000), Bypass.TOO_LONG),
    ],
)
def test_what_cannot_be_cached_is_passed_by_with_a_reason(body: bytes, reason: Bypass) -> None:
    assert read(body) is reason


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.7},
        {"temperature": None},
        {"n": 1},
        {"tools": []},
        {"logprobs": False},
        {"metadata": {"team": "blue"}},
    ],
)
def test_what_asks_for_nothing_special_can_be_cached(fields: dict[str, Any]) -> None:
    assert isinstance(read(chat(QUESTION, **fields)), Prompt)


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("a" * 2_001, ExactOnly.LONG),
        ("a " * 201, ExactOnly.LONG),
        ("\n".join(f"line {number}" for number in range(13)), ExactOnly.TEMPLATED),
        ("a" * 2_000, None),
        ("\n".join(f"line {number}" for number in range(12)), None),
    ],
)
def test_what_nobody_rewords_is_found_only_as_it_is(question: str, why: ExactOnly | None) -> None:
    assert prompt(question).exact_only is why


def test_the_order_of_members_and_nulls_for_defaults_change_nothing() -> None:
    """Two libraries write the same request in different ways."""
    one = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"top_p":0.5,"seed":null}'
    other = b'{"top_p": 0.5, "messages": [{"content": "hi", "role": "user"}], "model": "m"}'
    first, second = read(one), read(other)
    assert isinstance(first, Prompt)
    assert isinstance(second, Prompt)
    assert names(first) == names(second)


def test_a_single_part_of_text_is_a_text() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": QUESTION}]}
    assert names(prompt(parts)) == names(prompt(QUESTION))
    assert names(prompt(parts, says("assistant", "a"), "b")) == names(
        prompt(QUESTION, says("assistant", "a"), "b")
    )


def test_who_asks_and_how_it_is_sent_is_no_part_of_what_is_asked() -> None:
    sent = prompt(QUESTION, stream=True, user="u1", metadata={"team": "blue"}, store=True)
    assert names(sent) == names(prompt(QUESTION))


@pytest.mark.parametrize(
    "other",
    [
        prompt(QUESTION, tenant="globex"),
        prompt(QUESTION, model="sim-2"),
        prompt(says("system", "Be brief."), QUESTION),
        prompt(says("developer", "Be brief."), QUESTION),
        prompt("Hello", says("assistant", "Hi"), QUESTION),
        prompt(QUESTION, temperature=0.5),
        prompt(QUESTION, max_tokens=5),
        prompt(QUESTION, max_completion_tokens=5),
        prompt(QUESTION, top_p=0.5),
        prompt(QUESTION, stop=["."]),
        prompt(QUESTION, seed=1),
        prompt(QUESTION, reasoning_effort="high"),
        prompt(QUESTION, response_format={"type": "json_object"}),
        prompt(QUESTION, verbosity="low"),
        prompt({"role": "user", "content": QUESTION, "name": "Ann"}),
    ],
)
def test_whatever_may_change_the_answer_is_another_scope_and_key(other: Prompt) -> None:
    same = prompt(QUESTION)
    assert other.key != same.key
    assert other.entry_id != same.entry_id
    assert other.scope("words-1") != same.scope("words-1")


def test_another_embedder_has_another_scope_and_the_same_key() -> None:
    found = prompt(QUESTION)
    assert found.scope("words-1") != found.scope("words-2")


def test_where_a_system_message_stands_counts() -> None:
    before = prompt(says("system", "s"), "a", says("assistant", "b"), "c")
    after = prompt("a", says("system", "s"), says("assistant", "b"), "c")
    assert names(before) != names(after)


_texts = st.text(min_size=1, max_size=12).filter(str.strip)
_messages = st.lists(
    st.builds(says, st.sampled_from(["system", "user", "assistant"]), _texts), max_size=3
)
_fields = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.1, 0.7]),
        "max_tokens": st.integers(1, 3),
        "seed": st.integers(0, 2),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
        "vendor_option": st.sampled_from([1, "1", [1], {"a": 1}]),
    },
)
_requests = st.tuples(
    st.sampled_from(["acme", "globex", "acme-1"]),
    st.sampled_from(["sim-1", "sim-2"]),
    _messages,
    _texts,
    _fields,
)
_Asked = tuple[str, str, list[dict[str, Any]], str, dict[str, Any]]


def _read(asked: _Asked) -> Prompt:
    tenant, model, history, question, fields = asked
    return prompt(*history, question, tenant=tenant, model=model, **fields)


def _typed(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(_requests, _requests)
def test_scopes_are_equal_exactly_where_all_but_the_question_is(one: _Asked, other: _Asked) -> None:
    first, second = _read(one), _read(other)
    fields = [
        {k: float(v) if k == "temperature" else v for k, v in each[4].items()}
        for each in (one, other)
    ]
    alike = (*one[:3], _typed(fields[0])) == (*other[:3], _typed(fields[1]))
    assert (first.scope("e") == second.scope("e")) == alike
    same = alike and normalised(one[3]) == normalised(other[3])
    assert (first.key == second.key) == same
    if one[0] != other[0]:
        assert first.key != second.key
        assert first.entry_id != second.entry_id


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    assert isinstance(read(body), Prompt | Bypass)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "metadata", "stop", "audio", "x", "n"]), _json))
def test_any_json_has_an_answer(fields: dict[str, Any]) -> None:
    assert isinstance(read(json.dumps({"model": "m"} | fields).encode()), Prompt | Bypass)
    with_question = chat(QUESTION) if "messages" in fields else chat(QUESTION, **fields)
    assert isinstance(read(with_question), Prompt | Bypass)


def test_white_space_of_a_line_is_one_blank_and_that_of_lines_stays() -> None:
    """Code that is indented in another way is other code."""
    assert normalised("  What \t is\u00a0it ? ") == "What is it ?"
    assert normalised("if a:\n    b\n") == "if a:\n    b"
    assert normalised("e\u0301") == "\u00e9"
    assert normalised("Polish") != normalised("polish")


def test_only_a_uuid_names_an_entry() -> None:
    assert is_entry_id(prompt(QUESTION).entry_id)
    assert not is_entry_id("")
    assert not is_entry_id("x")
    assert not is_entry_id("{12345678-1234-5678-1234-567812345678}")
