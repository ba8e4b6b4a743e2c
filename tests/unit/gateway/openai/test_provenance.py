"""Where an answer comes from, in headers or in the last chunk: who saves money wants to see it.

A user who cannot tell a hit from the model's own words cannot trust either.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.support.chunk_logs import DONE, JOB, data_of, entries, logs, put_together
from tests.support.logs import marks
from tidegate.contracts.events import AttemptStarted, CacheMark, Delta, Event, decode_event
from tidegate.eventlog.tail import Entry
from tidegate.gateway.openai.chunks import Chunks
from tidegate.gateway.openai.completion import WholeCompletion
from tidegate.gateway.openai.provenance import Provenance

SEMANTIC = CacheMark("semantic", 0.953_26, 90_999, "job_a", "e1")
EXACT = CacheMark("exact", None, 59_000, "job_a", "e1")
COALESCED = CacheMark("coalesced", source="job_a")
SEMANTIC_HEADERS = {
    "x-tidegate-cache": "semantic",
    "x-tidegate-cache-score": "0.9533",
    "x-tidegate-cache-age": "90",
}


def streamed(
    log: list[Entry], headers_after: int, *, include_usage: bool = False
) -> tuple[dict[str, str], list[dict[str, Any]], Chunks]:
    """The headers, had they gone after so many entries, and all frames."""
    chunks = Chunks(JOB, "m", 0, include_usage=include_usage, keyed=False)
    sent = b"".join(chunks.take(entry) for entry in log[:headers_after])
    headers = chunks.headers()
    return headers, data_of(sent + b"".join(map(chunks.take, log[headers_after:]))), chunks


def member(frames: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the frames say of it themselves, which only the one with the finish reason may."""
    said = [frame for frame in frames if "tidegate" in frame]
    assert all(frame["choices"][0]["finish_reason"] for frame in said)
    return said[0]["tidegate"] if said else None


@pytest.mark.parametrize(
    ("mark", "headers"),
    [
        (None, {"x-tidegate-cache": "miss"}),
        (CacheMark(), {"x-tidegate-cache": "miss"}),
        (EXACT, {"x-tidegate-cache": "exact", "x-tidegate-cache-age": "59"}),
        (SEMANTIC, SEMANTIC_HEADERS),
        (COALESCED, {"x-tidegate-cache": "coalesced"}),
        (CacheMark("coalesced", 0.9, 5_000), {"x-tidegate-cache": "coalesced"}),
        (
            CacheMark("exact", age_ms=-700),
            {"x-tidegate-cache": "exact", "x-tidegate-cache-age": "0"},
        ),
    ],
)
def test_headers_say_the_tier_and_what_belongs_to_it(
    mark: CacheMark | None, headers: dict[str, str]
) -> None:
    assert Provenance.of(mark).headers() == headers
    log = entries([AttemptStarted(1, "w", cache=mark), Delta("a"), DONE])
    whole = WholeCompletion(JOB, "m", 0, keyed=False)
    for entry in log:
        whole.take(entry)
    assert whole.provenance.headers() == headers
    assert "tidegate" not in json.loads(whole.body())
    for headers_after in (1, 2, 3):
        said, frames, _ = streamed(log, headers_after)
        assert said == headers
        assert member(frames) is None


@given(marks)
def test_the_last_chunk_says_in_json_what_headers_say(mark: CacheMark | None) -> None:
    log = entries([AttemptStarted(1, "w", cache=mark), Delta("a"), DONE])
    headers, frames, _ = streamed(log, headers_after=0)
    assert headers == {}
    said = member(frames)
    assert said is not None
    prefix = "x-tidegate-cache"
    as_headers = {
        prefix if name == "cache" else f"{prefix}-{name}": str(value)
        for name, value in said.items()
    }
    assert as_headers == Provenance.of(mark).headers()


@given(logs(), st.data())
def test_what_a_client_was_told_last_is_true_whenever_its_headers_went(
    log: list[Entry], data: st.DataObject
) -> None:
    """Whatever attempts came and went: the answer is the last one's, and so is the tier."""
    headers_after = data.draw(st.integers(0, len(log)))
    headers, frames, chunks = streamed(log, headers_after)
    if chunks.problem is not None:
        assert member(frames) is None
        return
    events = [decode_event(entry.raw) for entry in log]
    last = [event for event in events if isinstance(event, AttemptStarted)][-1]
    known = [event for event in events[:headers_after] if isinstance(event, AttemptStarted)]
    true = Provenance.of(last.cache)
    if known and Provenance.of(known[-1].cache) == true:
        assert (headers, member(frames)) == (true.headers(), None)
    else:
        assert member(frames) is not None
        assert member(frames) == json.loads(json.dumps(_members(true)))


def _members(told: Provenance) -> dict[str, Any]:
    named = {"cache": told.cache, "score": told.score, "age": told.age}
    return {name: value for name, value in named.items() if value is not None}


def test_a_stream_whose_headers_said_something_else_corrects_itself() -> None:
    """The first attempt found nothing, its worker died, and then the answer was there."""
    events: list[Event] = [AttemptStarted(1, "w", cache=CacheMark()), Delta("The tide")]
    events += [AttemptStarted(2, "w", cache=EXACT), Delta("The tide turns"), DONE]
    headers, frames, _ = streamed(entries(events), headers_after=2)
    assert headers == {"x-tidegate-cache": "miss"}
    assert put_together(frames).text == "The tide turns"
    assert member(frames) == {"cache": "exact", "age": 59}


def test_where_headers_can_still_say_it_the_last_attempt_counts() -> None:
    events: list[Event] = [AttemptStarted(1, "w", cache=CacheMark())]
    events += [AttemptStarted(2, "w", cache=SEMANTIC), Delta("a"), DONE]
    assert streamed(entries(events), headers_after=3)[0] == SEMANTIC_HEADERS


@pytest.mark.parametrize("include_usage", [False, True])
def test_the_stock_client_takes_the_member_and_hands_it_on(include_usage: bool) -> None:
    log = entries([AttemptStarted(1, "w", cache=SEMANTIC), Delta("a"), DONE])
    _, frames, _ = streamed(log, 0, include_usage=include_usage)
    state: Any = ChatCompletionStreamState()
    told = []
    for frame in frames[:-1]:
        chunk = ChatCompletionChunk.model_validate(frame, strict=True)
        state.handle_chunk(chunk)
        told += [extra] if (extra := (chunk.model_extra or {}).get("tidegate")) else []
    assert told == [{"cache": "semantic", "score": 0.9533, "age": 90}]
    assert state.current_completion_snapshot.choices[0].message.content == "a"
