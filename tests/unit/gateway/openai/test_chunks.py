"""Chunks: whatever a log went through, a client puts together the job's answer or sees an error."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.support.chunk_logs import (
    DONE,
    JOB,
    call,
    data_of,
    entries,
    logs,
    parts_of_calls,
    put_together,
)
from tests.support.logs import USAGE
from tidegate.contracts.errors import InternalError
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    Delta,
    Event,
    encode_event,
)
from tidegate.contracts.fold import Fold
from tidegate.eventlog.tail import Entry
from tidegate.gateway.openai.chunks import Chunks, error_frame
from tidegate.gateway.openai.completion import WholeCompletion


def projected(
    log: list[Entry], *, include_usage: bool = False, known: int = 0
) -> tuple[list[dict[str, Any]], Chunks, bytes]:
    """The data of every frame, the projection, and the bytes."""
    chunks = Chunks(JOB, "m", 7_500, include_usage=include_usage, keyed=False, known=known)
    sent = b"".join(chunks.take(entry) for entry in log)
    if chunks.problem is not None:
        sent += error_frame(chunks.problem)
    return data_of(sent), chunks, sent


def folded(log: list[Entry]) -> Fold:
    fold = Fold()
    for entry in log:
        fold.take(Append(entry.attempt, entry.sequence, entry.at_ms, [entry.raw]))
    return fold


def tokens(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The log probabilities of the text."""
    kept = [choice["logprobs"] for f in frames for choice in f.get("choices", ())]
    return [item for each in kept if each for item in each["content"] or ()]


def completion(log: list[Entry]) -> dict[str, Any]:
    """The same job without a stream; its problem is that of the stream that is read late."""
    whole = WholeCompletion(JOB, "m", 7_500, keyed=False)
    for entry in log:
        whole.take(entry)
    _, chunks, _ = projected(log, known=len(log))
    assert whole.ended
    assert whole.problem == chunks.problem
    body: dict[str, Any] = json.loads(whole.body())
    return body


@given(logs(), st.booleans(), st.data())
def test_chunks_are_the_answer_or_an_error_whatever_the_log_went_through(
    log: list[Entry], include_usage: bool, data: st.DataObject
) -> None:
    known = data.draw(st.integers(0, len(log)))
    frames, chunks, _ = projected(log, include_usage=include_usage, known=known)
    fold = folded(log)
    assert chunks.ended
    ends = [f for f in frames if "error" in f or f.get("done")]
    assert ends == frames[-1:], "exactly one end, and nothing after it"
    finishes = [c for f in frames for c in f.get("choices", ()) if c["finish_reason"]]
    if "error" in frames[-1]:
        note(frames[-1]["error"]["code"])
        assert not finishes
        assert known < len(log) or fold.error is not None, "a finished answer is always told"
        return
    note("whole")
    told, kept = put_together(frames), fold.answer()
    assert len(finishes) == 1
    assert told.finish_reason in {"stop", "length", "tool_calls"}
    told.finish_reason = kept.finish_reason
    assert told == kept
    merged = completion(log)["choices"][0]["logprobs"] or {"content": None}
    assert [each["token"] for each in tokens(frames)] == [
        each["token"] for each in merged["content"] or ()
    ]


@given(logs())
def test_the_stock_client_takes_every_chunk_and_comes_to_the_same_answer(log: list[Entry]) -> None:
    """Its own accumulation, with strict validation."""
    frames, _, _ = projected(log, include_usage=True)
    indices = [part["index"] for f in frames for part in parts_of_calls(f)]
    if "error" in frames[-1] or indices[:1] == [1]:
        # It takes calls that begin in their order only.
        return
    state: Any = ChatCompletionStreamState()
    for frame in frames[:-1]:
        chunk = ChatCompletionChunk.model_validate(frame, strict=True)
        state.handle_chunk(chunk)
    whole = state.current_completion_snapshot
    kept = folded(log).answer()
    message = whole.choices[0].message
    assert (message.content or "") == kept.text
    assert (message.refusal or "") == kept.refusal
    assert [
        (each.id or "", each.function.name or "", each.function.arguments)
        for each in message.tool_calls or ()
        if each.type == "function"
    ] == [(each.id, each.name, each.arguments) for each in kept.tool_calls]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == USAGE.output_tokens
    assert state.current_completion_snapshot.choices[0].finish_reason


@given(logs())
def test_what_is_streamed_is_what_comes_whole(log: list[Entry]) -> None:
    frames, chunks, _ = projected(log, known=len(log))
    if chunks.problem is not None:
        return
    body = completion(log)
    message = body["choices"][0]["message"]
    told = put_together(frames)
    assert body["id"] == frames[0]["id"]
    assert (message["content"] or "", message["refusal"] or "") == (told.text, told.refusal)
    assert message.get("reasoning_content", "") == told.reasoning
    assert body["choices"][0]["finish_reason"] == told.finish_reason
    merged = body["choices"][0]["logprobs"]
    assert (merged["content"] if merged else []) == tokens(frames)


def test_a_stream_reads_as_openai_documents_it() -> None:
    log = entries([AttemptStarted(1, "w"), Delta("Hel"), Delta("lo"), DONE])
    frames, _, sent = projected(log, include_usage=True)
    common = {
        "id": "chatcmpl-v5pu6gcb5chlzlsqeaunkhagfq",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return common | {"choices": [choice], "usage": None}

    assert frames == [
        chunk({"role": "assistant", "content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        common
        | {
            "choices": [],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 11,
                "total_tokens": 18,
                "prompt_tokens_details": {"cached_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        },
        {"done": True},
    ]
    assert sent.endswith(b"data: [DONE]\n\n")
    without, _, _ = projected(log)
    assert all("usage" not in frame for frame in without)
    assert len(without) == 4


def test_a_second_attempt_that_agrees_goes_on_silently() -> None:
    """A client must not read the same words twice."""
    log = entries(
        [
            AttemptStarted(1, "w"),
            Delta("The tide"),
            AttemptStarted(2, "w"),
            Delta("The "),
            Delta("tide turns"),
            DONE,
        ]
    )
    frames, chunks, _ = projected(log)
    assert chunks.problem is None
    assert put_together(frames).text == "The tide turns"


@pytest.mark.parametrize(
    "second",
    [
        [Delta("The moon")],
        [Delta("The")],
        [],
        [Delta("The tide", "reasoning")],
        [call(0, id="call_1", name="f", arguments="{}")],
    ],
    ids=["other words", "fewer", "none", "another kind", "a tool instead"],
)
def test_a_second_attempt_that_does_not_ends_in_an_error_that_says_what_to_do(
    second: list[Event],
) -> None:
    """Else the client would show a mixture that no model ever said."""
    log = entries(
        [AttemptStarted(1, "w"), Delta("The tide"), AttemptStarted(2, "w"), *second, DONE]
    )
    frames, chunks, _ = projected(log)
    assert put_together(frames).text == "The tide"
    error = frames[-1]["error"]
    assert error["code"] == "answer_changed"
    assert "Idempotency-Key" in error["message"]
    assert chunks.problem is not None
    assert chunks.problem.status == 502
    # Whoever asks again when it has ended gets the finished answer.
    again, chunks, _ = projected(log, known=len(log))
    assert chunks.problem is None
    kept = folded(log).answer()
    assert put_together(again).text == kept.text


def test_a_tool_call_that_is_made_again_under_another_id_is_another_call() -> None:
    """The client answers by id, and the answer that is kept has the other one."""
    first: list[Event] = [AttemptStarted(1, "w"), call(0, id="call_1", name="f", arguments="{")]
    again: list[Event] = [AttemptStarted(2, "w"), call(0, id="call_2", arguments="{}"), DONE]
    frames, _, _ = projected(entries([*first, *again]))
    assert frames[-1]["error"]["code"] == "answer_changed"
    second = call(0, id="call_1", name="f", arguments="{}")
    same: list[Event] = [AttemptStarted(2, "w"), second, DONE]
    frames, chunks, _ = projected(entries([*first, *same]))
    assert chunks.problem is None
    assert put_together(frames).tool_calls[0].arguments == "{}"


def test_an_attempt_that_lost_its_job_says_nothing() -> None:
    stale = Entry(4, 5, 1, encode_event(Delta("of the past")))
    log = entries([AttemptStarted(1, "w"), AttemptStarted(2, "w"), Delta("a")])
    _, chunks, sent = projected([*log, stale])
    assert b"past" not in sent
    assert not chunks.ended


@pytest.mark.parametrize(
    "raw", [b'{"type":"delta"}', b'{"type":"delta","data":"{","kind":"tool_call"}', b"[]"]
)
def test_a_log_that_cannot_be_read_is_an_error_of_ours(raw: bytes) -> None:
    chunks = Chunks(JOB, "m", 0, include_usage=False, keyed=False)
    with pytest.raises(InternalError):
        chunks.take(Entry(1, 5, 1, msgspec.Raw(raw)))


def test_an_event_of_a_later_release_is_passed_over() -> None:
    chunks = Chunks(JOB, "m", 0, include_usage=False, keyed=False)
    assert chunks.take(Entry(1, 5, 1, msgspec.Raw(b'{"type":"weather","data":1}'))) == b""


@pytest.mark.parametrize(("again", "code"), [("a", None), ("b", "answer_changed")])
def test_log_probabilities_of_a_second_attempt_agree_by_their_tokens(
    again: str, code: str | None
) -> None:
    """Their numbers differ from call to call, and say nothing of the text."""

    def told(token: str, logprob: float) -> Delta:
        item = {"token": token, "logprob": logprob}
        return Delta(json.dumps({"content": [item], "refusal": None}), "logprobs")

    first: list[Event] = [AttemptStarted(1, "w"), told("a", -1)]
    second: list[Event] = [AttemptStarted(2, "w"), told(again, -2), told("c", -3), DONE]
    frames, chunks, _ = projected(entries([*first, *second]))
    assert (chunks.problem.code if chunks.problem else None) == code
    assert [each["token"] for each in tokens(frames)] == (["a"] if code else ["a", "c"])
