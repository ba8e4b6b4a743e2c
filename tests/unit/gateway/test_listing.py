"""Tokens and last lines: a wrong one skips jobs, or shows a state that never was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    Completed,
    Delta,
    Event,
    JobState,
    JobSummary,
    Timings,
    Usage,
    Waiting,
    encode_event,
)
from tidegate.eventlog.head import LogHead
from tidegate.eventlog.lookup import FoundJob
from tidegate.gateway.listing import (
    DEFAULT_PAGE,
    JOB_PHASES,
    Phase,
    Position,
    decode_token,
    encode_token,
    last_line_view,
    page_size_of,
)

SUMMARY = JobSummary("job_" + "a" * 26, "sim-1", "default", "batch", 1_000, 2_000, "hash")


@given(phase=st.sampled_from(JOB_PHASES), sequence=st.integers(1, 2**63))
def test_a_token_leads_back_to_where_the_page_ended(phase: Phase, sequence: int) -> None:
    position = Position(phase, sequence)
    assert decode_token(encode_token(position)) == position


def test_a_token_of_another_list_is_refused() -> None:
    letters = encode_token(Position(Phase.DEAD_LETTERS, 7))
    assert decode_token(letters, (Phase.DEAD_LETTERS,)) == Position(Phase.DEAD_LETTERS, 7)
    assert decode_token("", (Phase.DEAD_LETTERS,)) == Position(Phase.DEAD_LETTERS, 1)
    for token, phases in [(letters, JOB_PHASES), (encode_token(Position()), (Phase.DEAD_LETTERS,))]:
        with pytest.raises(InvalidRequest):
            decode_token(token, phases)


def test_no_token_is_the_beginning() -> None:
    assert decode_token("") == Position(Phase.QUEUE, 1)


@given(token=st.text(min_size=1, max_size=24))
def test_any_other_text_is_refused_as_the_callers_fault(token: str) -> None:
    try:
        position = decode_token(token)
    except InvalidRequest:
        return
    assert encode_token(position) == token


def test_a_page_has_a_default_and_a_largest_size() -> None:
    assert page_size_of(0) == DEFAULT_PAGE
    assert page_size_of(200) == 200
    for size in (-1, 201):
        with pytest.raises(InvalidRequest):
            page_size_of(size)


def head(first: int, *events: Event, attempt: int = 2, sealed: bool = False) -> LogHead:
    line = Append(
        attempt=attempt,
        first=first,
        at_ms=1_500,
        events=[encode_event(event) for event in events],
        job=SUMMARY if sealed else None,
    )
    return LogHead(7, line)


def test_a_job_without_a_log_is_queued() -> None:
    job = last_line_view(FoundJob("acme", SUMMARY, LogHead()))
    assert (job.state, job.attempts, job.last_sequence) == (JobState.QUEUED, 0, 0)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Delta("x"), Delta("y")], JobState.RUNNING),
        ([AttemptStarted(2, "w")], JobState.RUNNING),
        ([Delta("x"), Waiting("retry")], JobState.WAITING),
        ([Waiting("retry"), Delta("x")], JobState.RUNNING),
        ([], JobState.RUNNING),
    ],
)
def test_the_last_line_tells_where_a_running_job_stands(
    events: list[Event], state: JobState
) -> None:
    job = last_line_view(FoundJob("acme", SUMMARY, head(5, *events)))
    assert (job.state, job.attempts) == (state, 2)
    assert job.last_sequence == 4 + len(events)
    assert job.answer is None


def test_the_last_line_tells_how_a_job_ended_and_what_it_cost() -> None:
    end = Completed(["stop"], Usage(1, 0, 2), Timings(1, None, 3), 9)
    job = last_line_view(FoundJob("acme", SUMMARY, head(5, Delta("x"), end, sealed=True)))
    assert (job.state, job.last_sequence) == (JobState.COMPLETED, 6)
    assert (job.cost_nano_usd, job.finished_ms) == (9, 1_500)
    assert (job.created_ms, job.deadline_ms, job.job_class) == (1_000, 2_000, "batch")
