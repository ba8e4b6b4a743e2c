"""A client of OpenAI reads these bytes: a field too few or a frame too many, and it breaks."""

import json
from typing import Any

import pytest

from tidegate.simulator.frames import ChunkFrames, Usage, completion_body, error_event


def frames(*, include_usage: bool) -> ChunkFrames:
    return ChunkFrames(
        "chatcmpl-1", 1700000000, 'odd "content":"" name', include_usage=include_usage
    )


def events(stream: bytes) -> list[Any]:
    parts = stream.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    texts = [part.removeprefix("data: ") for part in parts]
    return [json.loads(text) if text != "[DONE]" else text for text in texts]


def unchunked(chunk: bytes) -> bytes:
    size, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    assert rest.endswith(b"\r\n")
    return rest[:-2]


def test_a_token_is_one_chunk_of_one_event() -> None:
    [event] = events(unchunked(frames(include_usage=False).token_chunk(b" harbour.")))
    assert event == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": 'odd "content":"" name',
        "service_tier": "default",
        "system_fingerprint": "fp_tidegate_simulator",
        "choices": [
            {
                "index": 0,
                "delta": {"content": " harbour."},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }


def test_the_role_comes_with_empty_text() -> None:
    [event] = events(frames(include_usage=False).role())
    assert event["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}


def test_without_usage_no_chunk_mentions_it() -> None:
    finish, done = events(frames(include_usage=False).ending("stop", Usage(3, 4)))
    assert finish["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    ]
    assert "usage" not in finish
    assert done == "[DONE]"


def test_with_usage_every_chunk_says_null_and_the_last_says_it_all() -> None:
    made = frames(include_usage=True)
    stream = made.role() + unchunked(made.token_chunk(b"A")) + made.ending("length", Usage(3, 4))
    *before, usage, done = events(stream)
    assert [event["usage"] for event in before] == [None, None, None]
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 3
    assert usage["usage"]["completion_tokens"] == 4
    assert usage["usage"]["total_tokens"] == 7
    assert done == "[DONE]"


def test_an_error_in_mid_stream_is_an_event() -> None:
    assert events(error_event(b'{"error":{}}')) == [{"error": {}}]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_an_answer_in_one_piece_has_openais_shape(reason: str) -> None:
    message = {"content": "A gate."}
    whole = completion_body(
        "chatcmpl-1", 5, "sim", message=message, finish_reason=reason, usage=Usage(1, 2)
    )
    body = json.loads(whole)
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "A gate."
    assert body["choices"][0]["finish_reason"] == reason
    assert body["usage"]["total_tokens"] == 3


def test_a_whole_delta_stands_in_place_of_text() -> None:
    made = ChunkFrames("c", 1, 'odd {"content":""} name', include_usage=True, whole_deltas=True)
    [event] = events(unchunked(made.token_chunk(b'{"tool_calls":[]}')))
    assert event["choices"][0]["delta"] == {"tool_calls": []}
    assert event["usage"] is None
