"""A job as JSON, the same on every surface that speaks it."""

from collections.abc import Sequence
from typing import Self

import msgspec
from msgspec import UNSET, UnsetType

from tidegate.contracts.events import CacheMark, Timings, Usage
from tidegate.contracts.fold import Answer, JobError
from tidegate.contracts.jobs import JobView


class Cost(msgspec.Struct, frozen=True):
    """Billionths of a US dollar."""

    nano_usd: int


class JobJson(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch; null is what is not known, of a cost too.

    `lost` and `lost_cost` are what attempts spent that did not end the job. `cache` says where the
    answer of the last attempt comes from, null where the cache was not asked; `saved` what it cost
    when it was given first.

    `links` only where the surface knows the public addresses.
    """

    id: str
    state: str
    model: str
    job_class: str = msgspec.field(name="class")
    created_at: float
    deadline: float
    attempts: int
    last_sequence: int
    answer: Answer | None
    usage: Usage | None
    cost: Cost | None
    lost: Usage | None
    lost_cost: Cost | None
    cache: CacheMark | None
    saved: Cost | None
    timings: Timings | None
    error: JobError | None
    finished_at: float | None
    replay_of: str | None
    links: dict[str, str] | UnsetType = UNSET

    @classmethod
    def of(cls, job: JobView, links: dict[str, str] | UnsetType = UNSET) -> Self:
        """The job of a view."""
        return cls(
            id=job.id,
            state=job.state.value,
            model=job.model,
            job_class=job.job_class,
            created_at=job.created_ms / 1000,
            deadline=job.deadline_ms / 1000,
            attempts=job.attempts,
            last_sequence=job.last_sequence,
            answer=job.answer,
            usage=job.usage,
            cost=_cost(job.cost_nano_usd),
            lost=job.lost,
            lost_cost=_cost(job.lost_cost_nano_usd),
            cache=job.cache,
            saved=_cost(job.saved_nano_usd),
            timings=job.timings,
            error=job.error,
            finished_at=None if job.finished_ms is None else job.finished_ms / 1000,
            replay_of=job.replay_of or None,
            links=links,
        )


def _cost(nano_usd: int | None) -> Cost | None:
    return None if nano_usd is None else Cost(nano_usd)


class _Page(msgspec.Struct, frozen=True):
    jobs: Sequence[JobJson]
    next_page_token: str | None


_encoder = msgspec.json.Encoder()


def encode_job_json(job: JobJson) -> bytes:
    """The job."""
    return _encoder.encode(job)


def encode_page_json(jobs: Sequence[JobJson], next_page_token: str) -> bytes:
    """A page of jobs; `next_page_token` is null on the last."""
    return _encoder.encode(_Page(jobs, next_page_token or None))
