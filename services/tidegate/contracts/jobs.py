"""The job as it waits in the queue, its id, and what a caller sees of it."""

import secrets
from base64 import b32encode
from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal

import msgspec

from tidegate.contracts.events import (
    UNDECODABLE,
    CacheMark,
    CorruptLogError,
    JobState,
    JobSummary,
    Timings,
    Usage,
)
from tidegate.contracts.fold import Answer, Fold, JobError
from tidegate.contracts.subjects import job_subject

JOB_VERSION: Final = 1


# What becomes of a job that has not ended when its last reader goes.
OnDisconnect = Literal["detach", "cancel"]


class JobClass(StrEnum):
    """How urgent a job is."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


def _job_version() -> int:
    return JOB_VERSION


class QueuedJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message in JOBS: the envelope and, as canonical bytes, the request.

    The deadline is JetStream's time of storing plus `ttl_ms`, so that no gateway's clock decides.
    `request_hash` is over class and canonical request. `replay_of` is the failed job that this one
    repeats.
    """

    id: str
    tenant: str
    key_id: str
    queue: str
    job_class: JobClass
    ttl_ms: int
    model: str
    request_hash: str
    request: msgspec.Raw
    traceparent: str = ""
    on_disconnect: OnDisconnect = "detach"
    replay_of: str = ""
    # By factory, so that the version is written although it is the default.
    v: int = msgspec.field(default_factory=_job_version)

    @property
    def subject(self) -> str:
        """Where it waits."""
        return job_subject(self.queue, self.job_class, self.tenant, self.id)

    def summary(self, created_ms: int) -> JobSummary:
        """What its sealed log says of it; `created_ms` is JetStream's time of storing."""
        return JobSummary(
            id=self.id,
            model=self.model,
            queue=self.queue,
            job_class=self.job_class,
            created_ms=created_ms,
            deadline_ms=created_ms + self.ttl_ms,
            request_hash=self.request_hash,
            replay_of=self.replay_of,
        )


class JobView(msgspec.Struct, frozen=True):
    """A job as a caller sees it; `answer` and `cache` are None in lists. Times are epoch ms.

    `lost` and its cost (None: unknown) are what attempts spent that did not end the job. `cache`
    says where the last attempt's answer comes from (None: the cache was not asked), and
    `saved_nano_usd` what it cost when it was given first (None: unknown, or not completed).
    """

    id: str
    state: JobState
    model: str
    job_class: str
    created_ms: int
    deadline_ms: int
    attempts: int
    last_sequence: int
    answer: Answer | None
    usage: Usage | None
    cost_nano_usd: int | None
    lost: Usage | None
    lost_cost_nano_usd: int | None
    cache: CacheMark | None
    saved_nano_usd: int | None
    timings: Timings | None
    error: JobError | None
    finished_ms: int | None
    replay_of: str = ""


_decoder = msgspec.json.Decoder(QueuedJob)
_encoder = msgspec.json.Encoder()


def encode_job(job: QueuedJob) -> bytes:
    """The message's payload."""
    return _encoder.encode(job)


def decode_job(payload: bytes) -> QueuedJob:
    """The job of a payload.

    Raises:
        CorruptLogError: not a job, or one of a format newer than this release.
    """
    try:
        job = _decoder.decode(payload)
    except UNDECODABLE as error:
        raise CorruptLogError(f"not a job: {error}") from error
    if job.v > JOB_VERSION:
        raise CorruptLogError(f"job format {job.v} is newer than {JOB_VERSION}")
    return job


def new_job_id() -> str:
    """A fresh id of 128 random bits."""
    return _job_id(secrets.token_bytes(16))


def job_id_for(tenant: str, request_id: str) -> str:
    """The id of the job that this tenant's request id stands for, always the same."""
    return _job_id(sha256(f"{tenant}\0{request_id}".encode()).digest()[:16])


def _job_id(bits: bytes) -> str:
    return "job_" + b32encode(bits).decode().rstrip("=").lower()


def hash_request(job_class: JobClass, canonical: bytes) -> str:
    """What tells one body from another under the same request id: SHA-256, hexadecimal."""
    return sha256(job_class.encode() + b"\0" + canonical).hexdigest()


def view(summary: JobSummary, folded: Fold, *, with_answer: bool = True) -> JobView:
    """What a caller sees of a job, from what it is and the fold of its log."""
    return JobView(
        id=summary.id,
        state=folded.state,
        model=summary.model,
        job_class=summary.job_class,
        created_ms=summary.created_ms,
        deadline_ms=summary.deadline_ms,
        attempts=folded.attempt,
        last_sequence=folded.sequence,
        answer=folded.answer() if with_answer else None,
        usage=folded.usage,
        cost_nano_usd=folded.cost_nano_usd,
        lost=folded.lost,
        lost_cost_nano_usd=folded.lost_cost_nano_usd,
        # Lists are read from each log's last line, which rarely is the attempt's first.
        cache=folded.cache if with_answer else None,
        saved_nano_usd=folded.saved_nano_usd,
        timings=folded.timings,
        error=folded.error,
        finished_ms=folded.finished_ms,
        replay_of=summary.replay_of,
    )
