"""The fold: every reader of a log must come to the same job, whatever the attempts went through."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import SUMMARY, TIMINGS, USAGE, Log, begin, deltas, logs, write
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CacheMark,
    Completed,
    CorruptLogError,
    Delta,
    Event,
    Failed,
    JobState,
    Waiting,
    decode_event,
    encode_event,
)
from tidegate.contracts.fold import Answer, Fold, ToolCall, fold

START = AttemptStarted(1, "worker-1")
DONE = Completed(["stop"], USAGE, TIMINGS, 12)


def line(
    *events: Event | msgspec.Raw, attempt: int = 1, first: int = 1, seal: bool = False
) -> Append:
    raws = [each if isinstance(each, msgspec.Raw) else encode_event(each) for each in events]
    return Append(attempt, first, 5, raws, job=SUMMARY if seal else None)


def text_by_hand(log: Log, kind: str) -> str:
    """The last attempt's text, worked out without the fold."""
    parts: list[str] = []
    for _, raw in log.events:
        event = decode_event(raw)
        if isinstance(event, AttemptStarted) and not event.continues:
            parts.clear()
        if isinstance(event, Delta) and event.kind == kind:
            parts.append(event.data)
    return "".join(parts)


@given(logs())
def test_attempts_that_wrote_past_each_other_leave_one_answer(log: Log) -> None:
    """A caller whose job was retried would read words of a worker that had lost the job."""
    folded = fold(log.lines)
    assert folded.sequence == len(log.events)
    assert [sequence for sequence, _ in log.events] == list(range(1, folded.sequence + 1))
    assert folded.superseded == folded.unknown == 0
    assert folded.attempt == log.lines[-1].attempt
    assert folded.answer().text == text_by_hand(log, "text")
    assert folded.answer().reasoning == text_by_hand(log, "reasoning")
    assert folded.answer().refusal == text_by_hand(log, "refusal")
    assert folded.state.terminal == log.sealed


@given(logs(), st.data())
def test_a_fold_does_not_depend_on_how_events_were_grouped(log: Log, data: st.DataObject) -> None:
    """Live readers see other groups than those who replay: both must show the same job."""
    whole, one_by_one = fold(log.lines), Fold()
    for each in log.lines:
        for offset, raw in enumerate(each.events):
            last = offset == len(each.events) - 1
            one_by_one.take(
                Append(
                    each.attempt,
                    each.first + offset,
                    each.at_ms,
                    [raw],
                    job=each.job if last else None,
                )
            )
    assert vars(one_by_one) | {"_parts": 0, "_tool_calls": 0} == vars(whole) | {
        "_parts": 0,
        "_tool_calls": 0,
    }
    assert one_by_one.answer() == whole.answer()


@given(logs(sealed=False), st.lists(deltas, min_size=1, max_size=3))
def test_a_superseded_attempt_changes_nothing(log: Log, late: list[Delta]) -> None:
    """Even if a store had let a zombie in, its words must not mix into the answer."""
    begin(log, continues=False)
    before = fold(log.lines)
    zombie = Append(1, before.sequence + 1, 5, [encode_event(each) for each in late])
    after = fold([*log.lines, zombie])
    assert after.superseded == len(late)
    assert after.sequence == before.sequence + len(late)
    assert after.answer() == before.answer()
    assert after.state is before.state


def test_a_superseded_attempt_cannot_end_the_job() -> None:
    """A zombie's failure would hide the answer that a newer attempt is writing."""
    log = Log()
    begin(log, continues=False)
    begin(log, continues=False)
    zombie = line(Failed("X", "x"), attempt=1, first=3)
    folded = fold([*log.lines, zombie])
    assert folded.state is JobState.RUNNING
    assert folded.error is None


def test_events_of_a_later_release_are_counted_and_skipped() -> None:
    """During a rollout a reader one release behind must not lose its place in the log."""
    newer = msgspec.Raw(b'{"type":"tool_ran","data":{"x":[1,2]}}')
    folded = fold([line(START, newer, Delta("a"), newer), line(Delta("b"), first=5)])
    assert folded.unknown == 2
    assert folded.sequence == 5
    assert folded.answer().text == "ab"


def test_the_states_of_a_job_follow_its_events() -> None:
    folded = Fold()
    seen = [folded.state]
    story: list[Event] = [START, Waiting("RATE_LIMITED", 9), Delta("x"), DONE]
    for sequence, event in enumerate(story, start=1):
        folded.take(line(event, first=sequence, seal=event is DONE))
        seen.append(folded.state)
    assert seen == ["queued", "running", "waiting", "running", "completed"]
    assert folded.summary == SUMMARY
    assert (folded.usage, folded.cost_nano_usd, folded.timings) == (USAGE, 12, TIMINGS)
    assert folded.finished_ms == 5
    assert folded.answer() == Answer(text="x", finish_reason="stop")


def test_a_job_that_never_ran_can_end() -> None:
    """A cancelled or expired job that no worker ever took still says why it ended."""
    folded = fold([line(Failed("CANCELLED_BY_CALLER", "by you"), attempt=0, seal=True)])
    assert folded.state is JobState.FAILED
    assert folded.attempt == 0
    assert folded.error is not None
    assert folded.error.reason == "CANCELLED_BY_CALLER"


@given(logs())
def test_the_mark_of_the_last_attempt_counts(log: Log) -> None:
    """A job would be shown as a hit that the model was paid for in the end, or the other way."""
    folded = fold(log.lines)
    events = [decode_event(raw) for _, raw in log.events]
    begun = [event for event in events if isinstance(event, AttemptStarted)]
    assert folded.cache == begun[-1].cache
    saved = events[-1].saved_nano_usd if isinstance(events[-1], Completed) else None
    assert folded.saved_nano_usd == saved


def test_a_superseded_attempt_leaves_the_mark_alone() -> None:
    mark = CacheMark("exact", None, 5, "job_a", "e1")
    log = Log()
    begin(log, continues=False)
    begin(log, continues=False, cache=mark)
    late = AttemptStarted(1, "worker-1", cache=CacheMark())
    assert fold([*log.lines, line(late, attempt=1, first=3)]).cache == mark


def test_an_attempt_that_continues_keeps_the_text() -> None:
    again = AttemptStarted(2, "worker-2", continues=True)
    folded = fold([line(START, Delta("a")), line(again, Delta("b"), attempt=2, first=3)])
    assert folded.answer().text == "ab"


def test_a_new_attempt_drops_the_tool_calls_too() -> None:
    """A tool would be called twice, or with the arguments of two attempts glued together."""
    call = Delta('{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}', "tool_call")
    again = AttemptStarted(2, "worker-2")
    folded = fold([line(START, call), line(again, call, attempt=2, first=3)])
    assert folded.answer().tool_calls == [ToolCall("c", "f", "{")]


def test_tool_calls_are_put_together_from_fragments() -> None:
    """Chat Completions sends arguments in pieces, several calls mixed; a tool needs them whole."""
    fragments = [
        '{"index":1,"id":"b","type":"function","function":{"name":"two","arguments":""}}',
        '{"index":0,"id":"a","type":"function","function":{"name":"one"}}',
        '{"index":1,"function":{"arguments":"{\\"x\\":"}}',
        '{"index":0,"function":{"arguments":"{}"}}',
        '{"index":1,"function":{"arguments":"1}"}}',
    ]
    folded = fold([line(START, *(Delta(each, "tool_call") for each in fragments))])
    assert folded.answer().tool_calls == [
        ToolCall("a", "one", "{}"),
        ToolCall("b", "two", '{"x":1}'),
    ]


@pytest.mark.parametrize("data", ["", "[]", "{", '{"index":"x"}', "[" * 100_000])
def test_a_fragment_that_is_none_is_an_error_that_readers_know(data: str) -> None:
    with pytest.raises(CorruptLogError):
        fold([line(START, Delta(data, "tool_call"))])


@pytest.mark.parametrize("first", [1, 3, 0, -4])
def test_a_gap_or_a_repeat_is_never_folded_over(first: int) -> None:
    """A lost or doubled token would look like the model's own words."""
    with pytest.raises(CorruptLogError):
        fold([line(START), line(Delta("x"), first=first)])


@given(logs(sealed=True), deltas)
def test_nothing_follows_the_terminal_event(log: Log, extra: Delta) -> None:
    """A caller told "completed" must never see the answer change afterwards."""
    after = Append(99, log.lines[-1].last + 1, 5, [encode_event(extra)])
    with pytest.raises(CorruptLogError):
        fold([*log.lines, after])


def test_other_choices_do_not_mix_into_the_answer() -> None:
    folded = fold([line(START, Delta("a"), Delta("z", choice=1))])
    assert folded.answer().text == "a"


def test_the_fence_refuses_a_zombie_in_these_tests_too() -> None:
    """The generator above must really interleave, or the properties prove nothing."""
    log = Log()
    zombie = begin(log, continues=False)
    begin(log, continues=False)
    assert not write(log, zombie, [Delta("late")])
    assert log.refused == 1
