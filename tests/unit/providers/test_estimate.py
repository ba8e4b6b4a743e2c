"""Counting tokens where nobody told them: near enough for a bill that says so."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.providers.estimate import estimate_input_tokens
from tidegate.simulator.requests import prompt_tokens, read_chat


def chat(*messages: Any, **fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": messages} | fields)


def said(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_four_bytes_are_a_token_and_a_message_has_marks() -> None:
    assert estimate_input_tokens(chat(said("x" * 400))) == 3 + 3 + 100
    assert estimate_input_tokens(chat(said("x"), said(None))) == 3 + 3 + 1 + 3
    assert estimate_input_tokens(chat(said("潮" * 4))) == 3 + 3 + 3


def test_content_parts_count_text_and_images_but_no_data() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}}
    small = {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 9000, "format": "wav"}}
    text = {"type": "text", "text": "x" * 40}
    assert estimate_input_tokens(chat(said([text, image, small, sound]))) == 6 + 10 + 765 + 85


def test_tools_and_their_calls_count() -> None:
    plain = estimate_input_tokens(chat(said("hi")))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"a": "x" * 400}}}
    assert estimate_input_tokens(chat(said("hi"), tools=[tool])) > plain + 100
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert estimate_input_tokens(chat(said("hi"), answer)) > plain + 100


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("x" * 40, 10), (["x" * 40, "y"], 11), ([1, 2, 3], 3), ([[1, 2], [3]], 3), ([], 0)],
)
def test_embeddings_count_their_input(given: Any, tokens: int) -> None:
    assert estimate_input_tokens(msgspec.json.encode({"model": "m", "input": given})) == tokens


@given(st.binary(max_size=200))
def test_any_bytes_have_a_number(body: bytes) -> None:
    assert estimate_input_tokens(body) >= 0


deep = b'{"messages":[{"role":"user","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}"


def test_a_body_that_cannot_be_read_counts_by_its_size() -> None:
    assert estimate_input_tokens(deep) == -(-len(deep) // 4)


@given(st.lists(st.text(st.characters(codec="ascii"), max_size=300), min_size=1, max_size=5))
def test_it_comes_near_to_what_a_provider_counts(texts: list[str]) -> None:
    """The simulator's own rule: four characters begun are a token, a message has four more."""
    body = chat(*(said(text) for text in texts))
    told = prompt_tokens(read_chat(body)[0].messages)
    assert abs(estimate_input_tokens(body) - told) <= 3 + len(texts)
