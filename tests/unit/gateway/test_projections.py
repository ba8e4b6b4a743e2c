"""Jobs and events on the wire: a field that is lost here is lost to every client."""

import json

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from tidegate.contracts.create import JSON_NAMES, FieldNames
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.events import (
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
    Timings,
    Usage,
    Waiting,
    encode_event,
)
from tidegate.contracts.fold import Answer, JobError, ToolCall
from tidegate.contracts.jobs import JobView
from tidegate.eventlog.tail import Entry
from tidegate.gateway.http_bodies import encode_job, encode_page, new_job
from tidegate.gateway.listing import Page
from tidegate.gateway.proto import event_message, job_message
from tidegate.gateway.proto import new_job as proto_job
from tidegate.v1 import jobs_pb2 as pb

USAGE = Usage(7, 2, 11, 3, estimated=True)
LOST = Usage(14, 0, 5)
HIT = CacheMark("semantic", 0.953, 90_250, "job_" + "d" * 26, "entry-1")
FULL = JobView(
    id="job_" + "a" * 26,
    state=JobState.FAILED,
    model="sim-1",
    job_class="batch",
    created_ms=1_700_000_000_123,
    deadline_ms=1_700_000_600_123,
    attempts=2,
    last_sequence=9,
    answer=Answer("text", "why", "no", [ToolCall("c1", "f", '{"a":1}')], "stop"),
    usage=USAGE,
    cost_nano_usd=0,
    lost=LOST,
    lost_cost_nano_usd=12,
    cache=HIT,
    saved_nano_usd=63_000,
    timings=Timings(5, None, 900),
    error=JobError("PROVIDER_TIMEOUT", "too slow", retriable=True, retry_after_ms=1_500),
    finished_ms=1_700_000_001_000,
    replay_of="job_" + "c" * 26,
)
BARE = JobView(
    id="job_" + "b" * 26,
    state=JobState.QUEUED,
    model="sim-1",
    job_class="interactive",
    created_ms=1_700_000_000_000,
    deadline_ms=1_700_000_600_000,
    attempts=0,
    last_sequence=0,
    answer=None,
    usage=None,
    cost_nano_usd=None,
    lost=None,
    lost_cost_nano_usd=None,
    cache=None,
    saved_nano_usd=None,
    timings=None,
    error=None,
    finished_ms=None,
)


def test_a_job_as_a_message_holds_all_that_is_known() -> None:
    job = job_message(FULL)
    assert (job.id, job.state, job.job_class) == (
        FULL.id,
        pb.JOB_STATE_FAILED,
        pb.JOB_CLASS_BATCH,
    )
    assert job.created_at.ToMilliseconds() == FULL.created_ms
    assert job.deadline.ToMilliseconds() == FULL.deadline_ms
    assert job.finished_at.ToMilliseconds() == FULL.finished_ms
    assert (job.answer.text, job.answer.reasoning, job.answer.refusal) == ("text", "why", "no")
    assert job.answer.tool_calls[0].arguments == '{"a":1}'
    assert (job.usage.output_tokens, job.usage.estimated) == (11, True)
    assert job.error.retriable
    assert job.error.retry_after.ToMilliseconds() == 1_500
    assert (job.lost.input_tokens, job.lost_cost_nano_usd) == (14, 12)
    assert job.cache == pb.CacheMark(
        tier=pb.ANSWER_TIER_SEMANTIC,
        score=0.953,
        age=Duration(seconds=90, nanos=250_000_000),
        source=HIT.source,
        entry="entry-1",
    )
    assert job.saved_nano_usd == 63_000
    assert job.replay_of == FULL.replay_of
    assert job.timings.queued.ToMilliseconds() == 5
    assert job.timings.total.ToMilliseconds() == 900
    assert not job.timings.HasField("time_to_first_token")
    assert job.HasField("cost_nano_usd"), "free is not unknown"


def test_a_job_as_a_message_leaves_out_what_is_not_known() -> None:
    job = job_message(BARE)
    unknown = ("answer", "usage", "cost_nano_usd", "lost", "lost_cost_nano_usd", "timings")
    for name in (*unknown, "cache", "saved_nano_usd", "error", "finished_at"):
        assert not job.HasField(name), name


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_number(state: JobState) -> None:
    job = job_message(msgspec.structs.replace(BARE, state=state))
    assert pb.JobState.Name(job.state) == f"JOB_STATE_{state.name}"


def test_a_job_as_json() -> None:
    job = json.loads(encode_job(FULL, "http://sse.example"))
    assert (job["state"], job["class"], job["cost"]) == ("failed", "batch", {"nano_usd": 0})
    assert (job["created_at"], job["finished_at"]) == (1_700_000_000.123, 1_700_000_001.0)
    assert job["answer"]["tool_calls"] == [{"id": "c1", "name": "f", "arguments": '{"a":1}'}]
    assert job["error"]["reason"] == "PROVIDER_TIMEOUT"
    assert job["cache"] == {
        "tier": "semantic",
        "score": 0.953,
        "age_ms": 90_250,
        "source": HIT.source,
        "entry": "entry-1",
    }
    assert job["saved"] == {"nano_usd": 63_000}
    assert job["timings"] == {"queued_ms": 5, "ttft_ms": None, "total_ms": 900}
    assert job["links"] == {"events": f"http://sse.example/v1/jobs/{FULL.id}/events"}
    bare = json.loads(encode_job(BARE, ""))
    assert bare.keys() == job.keys()
    assert [name for name, value in bare.items() if value is None] == [
        "answer",
        "usage",
        "cost",
        "lost",
        "lost_cost",
        "cache",
        "saved",
        "timings",
        "error",
        "finished_at",
        "replay_of",
    ]


def test_the_last_page_has_no_token() -> None:
    assert json.loads(encode_page(Page([BARE], ""), ""))["next_page_token"] is None
    assert json.loads(encode_page(Page([BARE], "x"), ""))["next_page_token"] == "x"


def entry(event: Event) -> Entry:
    return Entry(4, 1_700_000_000_123, 1, encode_event(event))


@pytest.mark.parametrize(
    "event",
    [
        AttemptStarted(2, "w", "p", "m", continues=True),
        AttemptStarted(2, "w", cache=HIT),
        AttemptStarted(2, "w", cache=CacheMark()),
        Delta("x", "text", 1),
        Delta("x", "reasoning"),
        Delta("x", "refusal"),
        Delta("x", "tool_call"),
        Delta("x", "logprobs"),
        Waiting("retry"),
        Waiting("retry", 5),
        Completed(["stop"], USAGE, Timings(1, None, 3), None),
        Completed(["stop"], USAGE, Timings(-1, 2, 3), 0),
        Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=None),
        Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=63_000),
        Failed("R", "m", retriable=True, usage=USAGE, cost_nano_usd=1),
        Cancelled("R", "m"),
        Expired("R", "m", usage=USAGE),
    ],
    ids=lambda event: str(event.__struct_config__.tag),
)
def test_every_event_has_its_place_in_the_protocol(event: Event) -> None:
    message = event_message("job_x", entry(event)).event
    assert (message.job_id, message.sequence) == ("job_x", 4)
    assert message.at.ToMilliseconds() == 1_700_000_000_123
    assert message.WhichOneof("event") == event.__struct_config__.tag
    inner = getattr(message, message.WhichOneof("event") or "")
    for name in ("attempt", "continues", "data", "choice", "reason", "finish_reasons"):
        if hasattr(event, name) and hasattr(inner, name):
            assert getattr(inner, name) == getattr(event, name)
    if isinstance(event, Completed | Failed | Cancelled | Expired):
        assert inner.usage.output_tokens == event.usage.output_tokens
        assert inner.HasField("cost_nano_usd") == (event.cost_nano_usd is not None)


def test_an_event_over_grpc_says_where_its_answer_comes_from() -> None:
    begun, bare, miss = (
        event_message("job_x", entry(AttemptStarted(1, "w", cache=mark))).event.attempt_started
        for mark in (HIT, None, CacheMark())
    )
    assert begun.cache == job_message(FULL).cache
    assert not bare.HasField("cache"), "a cache that was not asked had no miss"
    assert (miss.cache.tier, miss.cache.HasField("score")) == (pb.ANSWER_TIER_MISS, False)
    for saved in (None, 0, 63_000):
        done = Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=saved)
        told = event_message("job_x", entry(done)).event.completed
        assert (told.saved_nano_usd if told.HasField("saved_nano_usd") else None) == saved


def test_an_unknown_event_keeps_its_sequence_and_nothing_else() -> None:
    later = Entry(4, 5, 1, msgspec.Raw(b'{"type":"telepathy"}'))
    message = event_message("job_x", later).event
    assert (message.sequence, message.WhichOneof("event")) == (4, None)


def test_a_known_event_without_its_fields_is_a_corrupt_log() -> None:
    with pytest.raises(CorruptLogError):
        event_message("job_x", Entry(4, 5, 1, msgspec.Raw(b'{"type":"delta"}')))


CHAT = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize(
    ("in_body", "header", "request_id"),
    [
        ("", None, ""),
        (',"request_id":"a"', None, "a"),
        ("", "b", "b"),
        (',"request_id":"a"', "a", "a"),
        (',"request_id":null', "b", "b"),
    ],
)
def test_a_request_id_may_stand_in_the_body_or_the_header(
    in_body: str, header: str | None, request_id: str
) -> None:
    body = b'{"request":' + CHAT + in_body.encode() + b"}"
    assert new_job(body, header).request_id == request_id


@pytest.mark.parametrize(
    ("in_body", "header"), [(',"request_id":""', "b"), (',"request_id":""', None), ("", "")]
)
def test_an_empty_request_id_is_refused(in_body: str, header: str | None) -> None:
    """A client whose variable was not set would run its repeats twice without a word."""
    body = b'{"request":' + CHAT + in_body.encode() + b"}"
    with pytest.raises(InvalidRequest):
        new_job(body, header)


@pytest.mark.parametrize(
    ("in_body", "number", "policy"),
    [
        ("", pb.ON_DISCONNECT_UNSPECIFIED, "detach"),
        ('"on_disconnect":null,', pb.ON_DISCONNECT_UNSPECIFIED, "detach"),
        ('"on_disconnect":"detach",', pb.ON_DISCONNECT_DETACH, "detach"),
        ('"on_disconnect":"cancel",', pb.ON_DISCONNECT_CANCEL, "cancel"),
    ],
)
def test_a_job_goes_on_without_readers_unless_its_caller_says_otherwise(
    in_body: str, number: pb.OnDisconnect, policy: str
) -> None:
    body = f'{{{in_body}"request":{CHAT.decode()}}}'
    assert new_job(body.encode(), None).on_disconnect == policy
    request = pb.CreateJobRequest(chat_json=CHAT, on_disconnect=number)
    assert proto_job(request).on_disconnect == policy


@pytest.mark.parametrize("names", [None, JSON_NAMES])
def test_a_typed_chat_is_told_of_faults_under_the_callers_name_of_it(
    names: FieldNames | None,
) -> None:
    request = pb.CreateJobRequest(chat=pb.ChatRequest(model="m"))
    with pytest.raises(InvalidRequest) as refused:
        proto_job(request, names)
    assert refused.value.field == ("chat.messages" if names is None else "request.messages")
