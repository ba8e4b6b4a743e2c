"""The gateway's protocol as seen from a socket: creates into it, jobs out of it. No I/O."""

from typing import Final

from google.protobuf.duration_pb2 import Duration

from tidegate.contracts.create import CreateBody
from tidegate.contracts.events import CacheMark, CacheTier, JobState, Timings, Usage
from tidegate.contracts.fold import Answer, JobError, ToolCall
from tidegate.contracts.jobs import JobClass, JobView
from tidegate.v1 import jobs_pb2 as pb

_CLASS_NUMBERS: Final = {
    None: pb.JOB_CLASS_UNSPECIFIED,
    JobClass.INTERACTIVE: pb.JOB_CLASS_INTERACTIVE,
    JobClass.BATCH: pb.JOB_CLASS_BATCH,
}
_CLASSES: Final = {number: job_class for job_class, number in _CLASS_NUMBERS.items() if job_class}
_ON_DISCONNECT: Final = {
    None: pb.ON_DISCONNECT_UNSPECIFIED,
    "detach": pb.ON_DISCONNECT_DETACH,
    "cancel": pb.ON_DISCONNECT_CANCEL,
}
_TIERS: Final[dict[int, CacheTier]] = {
    pb.ANSWER_TIER_MISS: "miss",
    pb.ANSWER_TIER_EXACT: "exact",
    pb.ANSWER_TIER_SEMANTIC: "semantic",
    pb.ANSWER_TIER_COALESCED: "coalesced",
}
_STATE_PREFIX: Final = "JOB_STATE_"


def create_request(asked: CreateBody) -> pb.CreateJobRequest:
    """The create as the gateway takes it."""
    return pb.CreateJobRequest(
        request_id=asked.request_id or "",
        chat_json=bytes(asked.request),
        job_class=_CLASS_NUMBERS[asked.job_class],
        ttl=None if asked.ttl_s is None else _duration(asked.ttl_s),
        on_disconnect=_ON_DISCONNECT[asked.on_disconnect],
    )


def job_view(job: pb.Job) -> JobView:
    """The job; a class that this release does not know counts as interactive, a tier as none."""
    return JobView(
        id=job.id,
        state=JobState(pb.JobState.Name(job.state).removeprefix(_STATE_PREFIX).lower()),
        model=job.model,
        job_class=_CLASSES.get(job.job_class, JobClass.INTERACTIVE),
        created_ms=job.created_at.ToMilliseconds(),
        deadline_ms=job.deadline.ToMilliseconds(),
        attempts=job.attempts,
        last_sequence=job.last_sequence,
        answer=_answer(job.answer) if job.HasField("answer") else None,
        usage=_usage(job.usage) if job.HasField("usage") else None,
        cost_nano_usd=job.cost_nano_usd if job.HasField("cost_nano_usd") else None,
        lost=_usage(job.lost) if job.HasField("lost") else None,
        lost_cost_nano_usd=(job.lost_cost_nano_usd if job.HasField("lost_cost_nano_usd") else None),
        cache=_mark(job.cache) if job.HasField("cache") else None,
        saved_nano_usd=job.saved_nano_usd if job.HasField("saved_nano_usd") else None,
        timings=_timings(job.timings) if job.HasField("timings") else None,
        error=_error(job.error) if job.HasField("error") else None,
        finished_ms=job.finished_at.ToMilliseconds() if job.HasField("finished_at") else None,
        replay_of=job.replay_of,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _answer(answer: pb.Answer) -> Answer:
    return Answer(
        text=answer.text,
        reasoning=answer.reasoning,
        refusal=answer.refusal,
        tool_calls=[ToolCall(call.id, call.name, call.arguments) for call in answer.tool_calls],
        finish_reason=answer.finish_reason,
    )


def _usage(usage: pb.Usage) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=usage.estimated,
    )


def _error(error: pb.JobError) -> JobError:
    after = error.retry_after.ToMilliseconds() if error.HasField("retry_after") else None
    return JobError(error.reason, error.message, error.retriable, after)


def _mark(mark: pb.CacheMark) -> CacheMark | None:
    tier = _TIERS.get(mark.tier)
    if tier is None:
        return None
    score = mark.score if mark.HasField("score") else None
    return CacheMark(tier, score, mark.age.ToMilliseconds(), mark.source, mark.entry)


def _timings(timings: pb.Timings) -> Timings:
    first = timings.time_to_first_token
    return Timings(
        queued_ms=timings.queued.ToMilliseconds(),
        ttft_ms=first.ToMilliseconds() if timings.HasField("time_to_first_token") else None,
        total_ms=timings.total.ToMilliseconds(),
    )
