"""What earlier releases stored is read by this one, as it was meant.

The files under golden/ are the bytes of the version in their names, never written again: a release
that cannot read them loses the jobs and results that an installation holds while it is updated.
"""

from pathlib import Path

import msgspec
import pytest

from tidegate.contracts.control import cancels
from tidegate.contracts.dead_letter import DeadLetter, decode_dead_letter
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CacheMark,
    Cancelled,
    Completed,
    CorruptLogError,
    Delta,
    Event,
    Expired,
    Failed,
    JobState,
    JobSummary,
    Timings,
    Usage,
    Waiting,
    decode_append,
    decode_event,
    encode_append,
    encode_event,
)
from tidegate.contracts.fold import Answer, JobError, ToolCall, fold
from tidegate.contracts.jobs import JobClass, QueuedJob, decode_job
from tidegate.contracts.seal import SealBuilder, decode_head, is_sealed, replay

GOLDEN = Path(__file__).parent / "golden"
JOB = "job_v5pu6gcb5chlzlsqeaunkhagfq"
SUMMARY = JobSummary(
    id=JOB,
    model="sim-1",
    queue="default",
    job_class="interactive",
    created_ms=1_700_000_000_000,
    deadline_ms=1_700_000_600_000,
    request_hash="4c58dfab0c1526491928e9d768de81379057be57620c1960da347eafdbdaaaa0",
)
USAGE = Usage(12, 4, 7, 3, estimated=True)


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_a_queued_job_of_version_1() -> None:
    assert decode_job(golden("job.v1.json")) == QueuedJob(
        id=JOB,
        tenant="acme",
        key_id="k1",
        queue="default",
        job_class=JobClass.INTERACTIVE,
        ttl_ms=600_000,
        model="sim-1",
        request_hash=SUMMARY.request_hash,
        request=msgspec.Raw(
            b'{"messages":[{"content":"h\xc3\xa9","role":"user"}],"model":"sim-1"}'
        ),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        v=1,
    )


def test_an_append_of_version_1() -> None:
    line = decode_append(golden("append.v1.json"))
    assert (line.attempt, line.first, line.last, line.log) == (2, 4, 6, 1041)
    assert line.at_ms == 1_700_000_000_123
    assert [decode_event(raw) for raw in line.events] == [
        Delta("h\u00e9llo\n"),
        Delta('{"index":0,"id":"c1"}', kind="tool_call", choice=1),
        None,
    ]


@pytest.mark.parametrize(
    ("number", "event"),
    enumerate(
        [
            AttemptStarted(1, "w-1", "simulator", "sim-1", False, "00-ab-cd-01"),
            AttemptStarted(2, "w-2", continues=True),
            *(Delta("x", kind=kind) for kind in ("text", "reasoning", "refusal", "logprobs")),
            Waiting("PROVIDER_RATE_LIMITED", 1_700_000_000_999),
            Completed(["stop"], USAGE, Timings(1, 2, 3), 450),
            Completed([], Usage(), Timings(1, None, 3)),
            Failed("PROVIDER_TIMEOUT", "No token came in time.", True, USAGE, 0),
            Cancelled("CANCELLED_BY_CALLER", "By the caller."),
            Expired("DEADLINE_EXCEEDED", "Too late."),
        ]
    ),
)
def test_every_event_of_version_1(number: int, event: Event) -> None:
    raw = golden("events.v1.jsonl").splitlines()[number]
    assert decode_event(raw) == event


# What lines of version 1 say since there is a cache; older ones say nothing of it.
MARKED: list[Event] = [
    AttemptStarted(1, "w-1", "simulator", "sim-1", cache=CacheMark()),
    AttemptStarted(1, "w-1", cache=CacheMark("exact", None, 90_250, JOB, "e-1")),
    AttemptStarted(1, "w-1", cache=CacheMark("semantic", 0.953, 90_250, JOB, "e-1")),
    AttemptStarted(2, "w-1", cache=CacheMark("coalesced", source=JOB)),
    Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=450),
    Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=None),
]


@pytest.mark.parametrize(("number", "event"), enumerate(MARKED))
def test_an_event_that_says_where_its_answer_comes_from(number: int, event: Event) -> None:
    raw = golden("events-cache.v1.jsonl").splitlines()[number]
    assert decode_event(raw) == event


@pytest.mark.parametrize("begun", MARKED[:4])
def test_a_log_with_a_mark_comes_out_of_its_seal_with_it(begun: AttemptStarted) -> None:
    """And one that was sealed before there were marks says that none is known."""
    builder = SealBuilder()
    builder.add(encode_append(Append(begun.attempt, 1, 1, [encode_event(begun)])))
    last = Append(begun.attempt, 2, 2, [encode_event(MARKED[4])], log=7, job=SUMMARY)
    folded = fold(replay(builder.finish(last)))
    assert (folded.cache, folded.saved_nano_usd) == (begun.cache, 450)
    before = fold(replay(golden("seal.v1.bin")))
    assert (before.cache, before.saved_nano_usd) == (None, 0)


def test_a_sealed_log_of_version_1() -> None:
    payload = golden("seal.v1.bin")
    assert is_sealed(payload)
    lines = replay(payload)
    assert [line.first for line in lines] == [1, 2, 4, 5, 8]
    folded = fold(lines)
    assert (folded.state, folded.attempt, folded.sequence) == (JobState.COMPLETED, 2, 9)
    assert folded.summary == SUMMARY
    assert folded.answer() == Answer(
        text="h\u00e9llo world",
        reasoning="hm",
        tool_calls=[ToolCall("c1", "f", "{}")],
        finish_reason="stop",
    )
    assert (folded.usage, folded.cost_nano_usd) == (USAGE, 450)


def test_a_failed_log_without_attempt_of_version_1() -> None:
    folded = fold(replay(golden("seal-unstarted.v1.bin")))
    assert (folded.state, folded.sequence) == (JobState.EXPIRED, 1)
    assert folded.error == JobError("DEADLINE_EXCEEDED", "Too late.", False)


def test_a_tombstone_of_version_1() -> None:
    payload = golden("tombstone.v1.bin")
    stone = decode_head(payload)
    assert is_sealed(payload)
    assert stone == Append(2, 10, 1_700_000_000_500, [], job=SUMMARY, tombstone=True)
    assert replay(payload) == [stone]


def test_a_cancel_of_version_1() -> None:
    assert cancels(golden("cancel.v1.json"), SUMMARY.created_ms)
    assert not cancels(golden("cancel.v1.json"), SUMMARY.created_ms + 1)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[" * 10_000, b"\xff", b'{"created_ms":"1"}'])
def test_a_cancel_that_cannot_be_read_cancels_nothing(payload: bytes) -> None:
    assert not cancels(payload, SUMMARY.created_ms)


def test_a_dead_letter_of_version_1() -> None:
    assert decode_dead_letter(golden("dead-letter.v1.json")) == DeadLetter(
        job=decode_job(golden("job.v1.json")),
        reason="ATTEMPTS_EXHAUSTED",
        message="None came to an end.",
        retriable=True,
        attempts=3,
        created_ms=SUMMARY.created_ms,
        failed_ms=SUMMARY.created_ms + 999,
        v=1,
    )
    for wrong in (b"", b"{}", golden("dead-letter.v1.json").replace(b'"v":1}', b'"v":2}')):
        with pytest.raises(CorruptLogError):
            decode_dead_letter(wrong)
