"""Jobs and events as messages of the public protocol, and its requests as ours. No I/O."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tidegate.contracts import events
from tidegate.contracts.chat import parse_chat
from tidegate.contracts.create import FieldNames
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.fold import Answer, JobError
from tidegate.contracts.jobs import JobClass, JobView, OnDisconnect
from tidegate.eventlog.tail import Entry
from tidegate.gateway.creation import NewJob
from tidegate.v1 import jobs_pb2 as pb

_CLASSES: Final = {
    pb.JOB_CLASS_UNSPECIFIED: JobClass.INTERACTIVE,
    pb.JOB_CLASS_INTERACTIVE: JobClass.INTERACTIVE,
    pb.JOB_CLASS_BATCH: JobClass.BATCH,
}
_ON_DISCONNECT: Final[dict[int, OnDisconnect]] = {
    pb.ON_DISCONNECT_UNSPECIFIED: "detach",
    pb.ON_DISCONNECT_DETACH: "detach",
    pb.ON_DISCONNECT_CANCEL: "cancel",
}
_CLASS_NUMBERS: Final = {
    JobClass.INTERACTIVE.value: pb.JOB_CLASS_INTERACTIVE,
    JobClass.BATCH.value: pb.JOB_CLASS_BATCH,
}
_STATES: Final = {
    events.JobState.QUEUED: pb.JOB_STATE_QUEUED,
    events.JobState.RUNNING: pb.JOB_STATE_RUNNING,
    events.JobState.WAITING: pb.JOB_STATE_WAITING,
    events.JobState.COMPLETED: pb.JOB_STATE_COMPLETED,
    events.JobState.FAILED: pb.JOB_STATE_FAILED,
    events.JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
    events.JobState.EXPIRED: pb.JOB_STATE_EXPIRED,
}
_KINDS: Final = {
    "text": pb.DELTA_KIND_TEXT,
    "reasoning": pb.DELTA_KIND_REASONING,
    "refusal": pb.DELTA_KIND_REFUSAL,
    "tool_call": pb.DELTA_KIND_TOOL_CALL,
    "logprobs": pb.DELTA_KIND_LOGPROBS,
}
_TIERS: Final = {
    "miss": pb.ANSWER_TIER_MISS,
    "exact": pb.ANSWER_TIER_EXACT,
    "semantic": pb.ANSWER_TIER_SEMANTIC,
    "coalesced": pb.ANSWER_TIER_COALESCED,
}


def new_job(request: pb.CreateJobRequest, names: FieldNames | None = None) -> NewJob:
    """What a CreateJob asks for; `names`: how the caller wants fields to be called in errors.

    Raises:
        InvalidRequest: names the field.
    """
    if request.job_class not in _CLASSES:
        raise InvalidRequest("job_class is not known", field="job_class")
    if request.on_disconnect not in _ON_DISCONNECT:
        raise InvalidRequest("on_disconnect is not known", field="on_disconnect")
    which = request.WhichOneof("request")
    if which is None:
        raise InvalidRequest("one of chat and chat_json is required", field="chat")
    names = names or FieldNames(request=which, ttl="ttl")
    chat_json = _chat_json(request.chat) if which == "chat" else request.chat_json
    return NewJob(
        chat=parse_chat(chat_json, path=names.request),
        request_id=request.request_id,
        job_class=_CLASSES[request.job_class],
        ttl_seconds=_seconds(request.ttl) if request.HasField("ttl") else None,
        ttl_field=names.ttl,
        chat_field=names.request,
        on_disconnect=_ON_DISCONNECT[request.on_disconnect],
    )


def job_message(job: JobView) -> pb.Job:
    """The job; `answer` is absent where the view has none."""
    message = pb.Job(
        id=job.id,
        state=_STATES[job.state],
        model=job.model,
        job_class=_CLASS_NUMBERS.get(job.job_class, pb.JOB_CLASS_UNSPECIFIED),
        created_at=_timestamp(job.created_ms),
        deadline=_timestamp(job.deadline_ms),
        attempts=job.attempts,
        last_sequence=job.last_sequence,
        cost_nano_usd=job.cost_nano_usd,
        lost_cost_nano_usd=job.lost_cost_nano_usd,
        cache=_mark(job.cache),
        saved_nano_usd=job.saved_nano_usd,
        replay_of=job.replay_of,
    )
    if job.lost is not None:
        message.lost.CopyFrom(_usage(job.lost))
    if job.answer is not None:
        message.answer.CopyFrom(_answer(job.answer))
    if job.usage is not None:
        message.usage.CopyFrom(_usage(job.usage))
    if job.error is not None:
        message.error.CopyFrom(_error(job.error))
    if job.finished_ms is not None:
        message.finished_at.CopyFrom(_timestamp(job.finished_ms))
    if job.timings is not None:
        message.timings.CopyFrom(_timings(job.timings))
    return message


def event_message(job_id: str, entry: Entry) -> pb.StreamJobEventsResponse:
    """One event; of a type that this release does not know, only its place in the log.

    Raises:
        CorruptLogError: a known type without its fields.
    """
    message = pb.JobEvent(job_id=job_id, sequence=entry.sequence, at=_timestamp(entry.at_ms))
    event = events.decode_event(entry.raw)
    if event is not None:
        _FILLERS[type(event)](message, event)
    return pb.StreamJobEventsResponse(event=message)


def _chat_json(chat: pb.ChatRequest) -> bytes:
    body: dict[str, Any] = {
        "model": chat.model,
        "messages": [{"role": m.role, "content": m.content} for m in chat.messages],
    }
    for name in ("max_tokens", "temperature", "top_p", "seed"):
        if chat.HasField(name):
            body[name] = getattr(chat, name)
    if chat.stop:
        body["stop"] = list(chat.stop)
    return msgspec.json.encode(body)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _timestamp(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def _duration(ms: int) -> Duration:
    # Through the method, because it also gives negative ones their proper form.
    duration = Duration()
    duration.FromMilliseconds(ms)
    return duration


def _answer(answer: Answer) -> pb.Answer:
    return pb.Answer(
        text=answer.text,
        reasoning=answer.reasoning,
        refusal=answer.refusal,
        tool_calls=[
            pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments)
            for call in answer.tool_calls
        ],
        finish_reason=answer.finish_reason,
    )


def _usage(usage: events.Usage) -> pb.Usage:
    return pb.Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=usage.estimated,
    )


def _error(error: JobError) -> pb.JobError:
    after = error.retry_after_ms
    return pb.JobError(
        reason=error.reason,
        message=error.message,
        retriable=error.retriable,
        retry_after=None if after is None else _duration(after),
    )


def _timings(timings: events.Timings) -> pb.Timings:
    message = pb.Timings(queued=_duration(timings.queued_ms), total=_duration(timings.total_ms))
    if timings.ttft_ms is not None:
        message.time_to_first_token.CopyFrom(_duration(timings.ttft_ms))
    return message


def _mark(mark: events.CacheMark | None) -> pb.CacheMark | None:
    if mark is None:
        return None
    return pb.CacheMark(
        tier=_TIERS[mark.tier],
        score=mark.score,
        age=_duration(mark.age_ms),
        source=mark.source,
        entry=mark.entry,
    )


def _fill_started(message: pb.JobEvent, event: events.AttemptStarted) -> None:
    message.attempt_started.CopyFrom(
        pb.AttemptStarted(
            attempt=event.attempt,
            worker=event.worker,
            provider=event.provider,
            model=event.model,
            continues=event.continues,
            lost=_usage(event.lost),
            lost_cost_nano_usd=event.lost_cost_nano_usd,
            cache=_mark(event.cache),
        )
    )


def _fill_delta(message: pb.JobEvent, event: events.Delta) -> None:
    delta = message.delta
    delta.kind, delta.data = _KINDS[event.kind], event.data
    delta.choice = event.choice


def _fill_waiting(message: pb.JobEvent, event: events.Waiting) -> None:
    message.waiting.reason = event.reason
    if event.until_ms:
        message.waiting.until.CopyFrom(_timestamp(event.until_ms))


def _fill_completed(message: pb.JobEvent, event: events.Completed) -> None:
    message.completed.CopyFrom(
        pb.Completed(
            finish_reasons=event.finish_reasons,
            usage=_usage(event.usage),
            cost_nano_usd=event.cost_nano_usd,
            timings=_timings(event.timings),
            lost=_usage(event.lost),
            lost_cost_nano_usd=event.lost_cost_nano_usd,
            price_version=event.price_version,
            saved_nano_usd=event.saved_nano_usd,
        )
    )


def _fill_ended(message: pb.JobEvent, event: Any) -> None:
    ended = getattr(message, str(event.__struct_config__.tag))
    ended.error.CopyFrom(
        _error(JobError(event.reason, event.message, event.retriable, event.retry_after_ms))
    )
    ended.usage.CopyFrom(_usage(event.usage))
    ended.lost.CopyFrom(_usage(event.lost))
    ended.price_version = event.price_version
    if event.cost_nano_usd is not None:
        ended.cost_nano_usd = event.cost_nano_usd
    if event.lost_cost_nano_usd is not None:
        ended.lost_cost_nano_usd = event.lost_cost_nano_usd


_FILLERS: Final[dict[type, Callable[[pb.JobEvent, Any], None]]] = {
    events.AttemptStarted: _fill_started,
    events.Delta: _fill_delta,
    events.Waiting: _fill_waiting,
    events.Completed: _fill_completed,
    events.Failed: _fill_ended,
    events.Cancelled: _fill_ended,
    events.Expired: _fill_ended,
}
