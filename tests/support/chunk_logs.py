"""Logs for the OpenAI door as hypothesis draws them, and what a client makes of their chunks."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.support.logs import TIMINGS, USAGE, marks
from tidegate.contracts.events import (
    AttemptStarted,
    Cancelled,
    Completed,
    Delta,
    Event,
    Expired,
    Failed,
    Waiting,
    encode_event,
)
from tidegate.contracts.fold import Answer, ToolCall
from tidegate.eventlog.tail import Entry

JOB = "job_v5pu6gcb5chlzlsqeaunkhagfq"
DONE = Completed(["stop"], USAGE, TIMINGS)


def entries(events: Iterable[Event]) -> list[Entry]:
    """The events as a log of one attempt after another."""
    made, attempt = [], 0
    for sequence, each in enumerate(events, 1):
        attempt = each.attempt if isinstance(each, AttemptStarted) else attempt
        made.append(Entry(sequence, 5, attempt, encode_event(each)))
    return made


def data_of(sent: bytes) -> list[dict[str, Any]]:
    """The data of every frame of a stream."""
    frames = sent.decode().split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [json.loads(f[6:]) if f != "data: [DONE]" else {"done": True} for f in frames]


def call(index: int, **parts: str) -> Delta:
    """A fragment of a tool call."""
    function = {name: parts[name] for name in ("name", "arguments") if name in parts}
    fragment = {"index": index, "function": function} | (
        {"id": parts["id"]} if "id" in parts else {}
    )
    return Delta(json.dumps(fragment), "tool_call")


def put_together(frames: list[dict[str, Any]]) -> Answer:
    """What a client makes of the chunks by concatenation."""
    answer = Answer()
    calls: dict[int, dict[str, str]] = {}
    for frame in frames:
        for choice in frame.get("choices", ()):
            delta = choice["delta"]
            answer.text += delta.get("content") or ""
            answer.reasoning += delta.get("reasoning_content") or ""
            answer.refusal += delta.get("refusal") or ""
            answer.finish_reason = choice["finish_reason"] or answer.finish_reason
            for part in parts_of_calls(frame):
                one = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                one["id"] += part.get("id", "")
                for name in ("name", "arguments"):
                    one[name] += part["function"].get(name, "")
    answer.tool_calls = [msgspec.convert(calls[i], type=ToolCall) for i in sorted(calls)]
    return answer


def parts_of_calls(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The fragments of tool calls in a frame."""
    choices = frame.get("choices", ())
    return [part for choice in choices for part in choice["delta"].get("tool_calls", ())]


# Short enough to agree by chance.
fragments = st.builds(
    call,
    st.integers(0, 1),
    id=st.sampled_from(["call_1", "call_2"]),
    name=st.sampled_from(["f", ""]),
    arguments=st.sampled_from(["", "{", "{}", "}"]),
)
probabilities = st.lists(
    st.fixed_dictionaries(
        {
            "token": st.sampled_from("ab"),
            "logprob": st.floats(-9, 0),
            "bytes": st.none(),
            "top_logprobs": st.just([]),
        }
    ),
    min_size=1,
    max_size=2,
).map(lambda items: Delta(json.dumps({"content": items, "refusal": None}), "logprobs"))
deltas = st.one_of(
    st.builds(Delta, st.text("ab", max_size=3), st.sampled_from(["text", "reasoning", "refusal"])),
    fragments,
    probabilities,
    st.builds(Delta, st.just("other"), choice=st.just(1)),
)
waits = st.builds(Waiting, st.just("PROVIDER_TIMEOUT"))
terminals: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Completed,
        st.sampled_from([[], ["stop"], ["length"], ["tool_calls"], ["eos"]]),
        st.just(USAGE),
        st.just(TIMINGS),
    ),
    *(
        st.builds(kind, st.sampled_from(["PROVIDER_TIMEOUT", "NEW_REASON"]), st.text(max_size=9))
        for kind in (Failed, Cancelled, Expired)
    ),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Attempts that repeat one script, cut anywhere and in other pieces, or say something else."""
    script = draw(st.lists(deltas, max_size=6))
    events: list[Event] = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        continues = number > 1 and draw(st.booleans())
        events.append(AttemptStarted(number, "w", continues=continues, cache=draw(marks)))
        said = script if draw(st.booleans()) else draw(st.lists(deltas, max_size=4))
        events += said[: draw(st.integers(0, len(said)))] if draw(st.booleans()) else said
        events += draw(st.lists(waits, max_size=1))
    events.append(draw(terminals))
    return entries(events)
