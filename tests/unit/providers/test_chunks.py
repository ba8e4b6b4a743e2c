"""Chunks as providers send them; what is misread here is an answer that nobody gave."""

import json
from typing import Any

import pytest

from tidegate.contracts.events import Append, AttemptStarted, Delta, Usage, encode_event
from tidegate.contracts.fold import Fold, ToolCall
from tidegate.providers.chunks import ChunkReader, ErrorChunkError, UnreadableChunkError


def chunk(**fields: Any) -> bytes:
    """A chunk with all that providers put around what matters."""
    around = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return json.dumps(around | fields).encode()


def choice(delta: dict[str, Any] | None, **fields: Any) -> bytes:
    return chunk(choices=[{"index": 0, "delta": delta, "finish_reason": None} | fields])


def read(*chunks: bytes) -> tuple[list[Delta], ChunkReader]:
    reader = ChunkReader()
    return [delta for data in chunks for delta in reader.read(data)], reader


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "tide"}, [Delta("tide")]),
        ({"content": "", "role": "assistant", "refusal": None}, []),
        ({"content": None}, []),
        ({}, []),
        (None, []),
        ({"reasoning_content": "hm"}, [Delta("hm", "reasoning")]),
        ({"reasoning": "hm"}, [Delta("hm", "reasoning")]),
        ({"refusal": "no"}, [Delta("no", "refusal")]),
        ({"content": "b", "reasoning_content": "a"}, [Delta("a", "reasoning"), Delta("b")]),
        ({"content": "t", "something_new": {"x": 1}}, [Delta("t")]),
    ],
)
def test_each_kind_of_content(delta: dict[str, Any] | None, expected: list[Delta]) -> None:
    assert read(choice(delta))[0] == expected


@pytest.mark.parametrize(
    "data",
    [
        chunk(),
        chunk(choices=None),
        chunk(choices=[]),
        chunk(choices=[{}], usage=None, error=None),
        chunk(choices=[{"index": None, "delta": {}, "logprobs": None, "finish_reason": ""}]),
    ],
)
def test_nulls_and_missing_fields_hold_nothing(data: bytes) -> None:
    deltas, reader = read(data)
    assert (deltas, reader.usage, reader.finish_reasons) == ([], None, {})


def test_usage_is_the_last_that_was_told() -> None:
    """Some providers count on in every chunk."""
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": None}
    early = chunk(usage={"prompt_tokens": 9, "completion_tokens": 1})
    late = chunk(
        choices=[], usage={"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16} | details
    )
    assert read(early, late)[1].usage == Usage(9, 3, 7, 0)


def test_usage_never_shrinks() -> None:
    """What was told once was used, and will be billed."""
    first = chunk(
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
    )
    later = chunk(usage={"prompt_tokens": 2, "completion_tokens": 8})
    assert read(first, later, chunk(usage={"prompt_tokens": 0}))[1].usage == Usage(9, 4, 8, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"prompt_tokens": -5, "completion_tokens": 2}, Usage(0, 0, 2, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, Usage(10**12, 0, 2, 0)),
        ({"prompt_tokens": 10**18, "completion_tokens": 2}, Usage(10**12, 0, 2, 0)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 9},
                "completion_tokens_details": {"reasoning_tokens": 9},
            },
            Usage(3, 3, 2, 2),
        ),
        ({"prompt_tokens": "many"}, None),
        ({}, None),
        ([], None),
        ("none", None),
        (7, None),
    ],
)
def test_a_bill_that_makes_no_sense_does_not_spoil_the_answer(
    given: object, expected: Usage | None
) -> None:
    data = chunk(usage=given, choices=[{"index": 0, "delta": {"content": "a"}}])
    deltas, reader = read(data)
    assert (deltas, reader.usage) == ([Delta("a")], expected)


def test_log_probabilities_pass_as_json() -> None:
    given = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}], "refusal": None}
    text, logprobs = read(choice({"content": "a"}, logprobs=given))[0]
    assert text == Delta("a")
    assert logprobs.kind == "logprobs"
    assert json.loads(logprobs.data) == given


def folded(deltas: list[Delta]) -> list[ToolCall]:
    events = [encode_event(AttemptStarted(1, "w")), *map(encode_event, deltas)]
    fold = Fold()
    fold.take(Append(attempt=1, first=1, at_ms=1, events=events))
    return fold.answer().tool_calls


def test_tool_calls_fold_to_what_the_model_called() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"a"', ":1}")]
    other = {
        "index": 1,
        "id": "c2",
        "function": {"name": "g", "arguments": "{}"},
        "extra": {"s": 1},
    }
    deltas, _ = read(*(choice({"tool_calls": [each]}) for each in (first, *rest, other)))
    assert folded(deltas) == [ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", "{}")]
    assert json.loads(deltas[-1].data) == other


def test_tool_calls_without_index_are_told_apart_by_their_place() -> None:
    calls = [{"id": f"c{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    deltas, _ = read(choice({"tool_calls": calls}))
    assert [call.id for call in folded(deltas)] == ["c0", "c1"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b'{"choices": [{"delta": {"content": "secret" ',
        b"[]",
        b'"text"',
        chunk(choices={"delta": {}}),
        choice({"content": 7}),
        choice({"tool_calls": [{"index": "first"}]}),
        choice({"tool_calls": ["f"]}),
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        choice({"tool_calls": [{"x": 0}]}).replace(b": 0", b": " + b"[" * 9999 + b"]" * 9999),
    ],
)
def test_what_is_no_chunk_is_refused_without_quoting_it(data: bytes) -> None:
    with pytest.raises(UnreadableChunkError) as caught:
        read(data)
    assert str(caught.value) == ""


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"type": "server_error", "code": 500, "message": "x"}, "server_error", "500"),
        ({"message": "x"}, None, None),
        ("overloaded", None, None),
    ],
)
def test_an_error_in_the_stream_is_told_apart(error: object, kind: str, code: str) -> None:
    """Taken for an empty chunk, half an answer would look whole."""
    with pytest.raises(ErrorChunkError) as caught:
        read(chunk(error=error))
    assert (caught.value.kind, caught.value.code) == (kind, code)


def test_a_reason_without_end_is_cut_off() -> None:
    """It is kept in the log, where there is room for a word."""
    assert read(choice(None, finish_reason="x" * 10_000))[1].finish_reasons == {0: "x" * 64}
