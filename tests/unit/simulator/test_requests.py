"""A request that is refused without naming its field costs its author an hour."""

import json
from typing import Any

import pytest

from tidegate.simulator.errors import ProviderError
from tidegate.simulator.requests import prompt_tokens, read_chat, read_embeddings

USER = {"role": "user", "content": "hello"}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "sim-small", "messages": [USER]} | fields).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"messages": [{"role": "user"}]}', "model"),
        (b'{"model": "sim-small"}', "messages"),
        (chat(messages=[]), "messages"),
        (chat(messages=[{"role": "pirate", "content": "x"}]), "messages[0].role"),
        (chat(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_completion_tokens=10**9), "max_completion_tokens"),
        (chat(max_tokens=5, max_completion_tokens=5), "max_tokens"),
        (chat(n=2), "n"),
        (chat(logprobs=True), "logprobs"),
        (chat(tools=[{"type": "function"}]), "tools[0]"),
        (chat(response_format={"type": "xml"}), "response_format.type"),
        (chat(stream="yes"), "stream"),
        (chat(stream_options={"include_usage": True}), "stream_options"),
    ],
)
def test_a_bad_request_is_a_400_that_names_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(ProviderError) as raised:
        read_chat(body)
    assert (raised.value.status, raised.value.param) == (400, param)


def test_parameters_without_effect_are_let_through() -> None:
    """Clients send temperatures and vendors' own fields; all get their answer."""
    request, messages = read_chat(chat(temperature=0.1, stop=["x"], top_k=4, n=1))
    assert request.token_limit is None
    assert messages == [USER]


def test_prompt_tokens_follow_the_stated_rule() -> None:
    request, _ = read_chat(
        chat(
            messages=[
                {"role": "system", "content": "12345678"},
                {"role": "assistant", "content": None},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "12345"},
                        {"type": "image_url", "image_url": {"url": "data:,"}},
                    ],
                },
            ]
        )
    )
    assert prompt_tokens(request.messages) == (4 + 2) + 4 + (4 + 2 + 85)


@pytest.mark.parametrize(
    ("given", "number"),
    [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_every_form_of_input_to_embed_is_taken(given: Any, number: int) -> None:
    body = json.dumps({"model": "sim-embedding", "input": given}).encode()
    assert len(read_embeddings(body).texts()) == number


@pytest.mark.parametrize("given", ["", [], ["one", ""], [[]], ["x"] * 2049])
def test_nothing_to_embed_is_a_400(given: Any) -> None:
    body = json.dumps({"model": "sim-embedding", "input": given}).encode()
    with pytest.raises(ProviderError) as raised:
        read_embeddings(body).texts()
    assert (raised.value.status, raised.value.param) == (400, "input")
