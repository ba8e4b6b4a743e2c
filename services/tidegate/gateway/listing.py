"""Listing a tenant's jobs, in two phases of one order: the queue's messages, then sealed logs.

A job that ends while pages are read moves from the first phase to the end of the second: it may be
seen twice, and is never missed. Pages are read from any replica and may be a moment old.
"""

import asyncio
import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

import structlog

from tidegate.chassis.jetstream import JetStream, Stored
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.events import CorruptLogError, JobState
from tidegate.contracts.fold import Fold
from tidegate.contracts.jobs import JobView, view
from tidegate.contracts.subjects import (
    EVENTS_STREAM,
    JOBS_STREAM,
    jobs_of_tenant,
    log_subject,
    logs_of_tenant,
    tenant_and_job,
)
from tidegate.eventlog.head import LogHead, head_of
from tidegate.eventlog.lookup import FoundJob, found_in_queue
from tidegate.gateway.metrics import GatewayMetrics

LARGEST_PAGE: Final = 200
DEFAULT_PAGE: Final = 50

# Messages hold whole prompts and whole logs: what one read may bring into memory.
READ_BYTES: Final = 8 * 1024 * 1024
# Messages of running logs lie between the sealed ones; a page that met only those ends early.
_READS_PER_PAGE: Final = 8
_READ_AHEAD: Final = 500

_log = structlog.stdlib.get_logger(module=__name__)


class Phase(StrEnum):
    """What a page is read from."""

    QUEUE = "q"
    LOGS = "l"
    DEAD_LETTERS = "d"


JOB_PHASES: Final = (Phase.QUEUE, Phase.LOGS)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: a phase, and a stream sequence in it."""

    phase: Phase = Phase.QUEUE
    sequence: int = 1


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs without their answers, and the token of the next page, empty on the last."""

    jobs: list[JobView]
    next_page_token: str


def encode_token(position: Position) -> str:
    """The position as callers carry it."""
    return urlsafe_b64encode(f"1{position.phase}{position.sequence}".encode()).decode().rstrip("=")


def decode_token(token: str, phases: tuple[Phase, ...] = JOB_PHASES) -> Position:
    """The position of a token; of an empty one, the beginning of the first phase.

    Raises:
        InvalidRequest: it is not one of ours, or of another list.
    """
    if not token:
        return Position(phases[0])
    try:
        text = urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        position = Position(Phase(text[1:2]), int(text[2:]))
    except (ValueError, binascii.Error) as error:
        raise _bad_token() from error
    known = position.phase in phases and position.sequence >= 1
    if not known or encode_token(position) != token:
        raise _bad_token()
    return position


def page_size_of(asked: int) -> int:
    """Jobs on a page; 0 asks for the default.

    Raises:
        InvalidRequest: below 0 or above the largest.
    """
    if not 0 <= asked <= LARGEST_PAGE:
        raise InvalidRequest(f"page_size must be from 1 to {LARGEST_PAGE}", field="page_size")
    return asked or DEFAULT_PAGE


def last_line_view(found: FoundJob) -> JobView:
    """A job as its log's last line shows it: everything but the answer.

    Raises:
        CorruptLogError: the line is not one of a log.
    """
    folded = Fold()
    line = found.head.line
    if line is not None:
        folded.state = JobState.RUNNING
        folded.sequence, folded.attempt = line.first - 1, line.attempt
        folded.take(line)
    return view(found.summary, folded, with_answer=False)


class Lister:
    """Reads pages."""

    def __init__(self, jetstream: JetStream, metrics: GatewayMetrics) -> None:
        self._jetstream = jetstream
        self._metrics = metrics

    async def page(self, tenant: str, page_size: int, page_token: str) -> Page:
        """At most `page_size` jobs of a tenant; there may be fewer and still a next page.

        Raises:
            InvalidRequest: size or token are not valid.
            JetStreamError: JetStream does not answer.
        """
        size, position = page_size_of(page_size), decode_token(page_token)
        jobs: list[JobView] = []
        if position.phase is Phase.QUEUE:
            found, after = await self._queued(tenant, position.sequence, size)
            jobs.extend(found)
            if after is not None:
                return Page(jobs, encode_token(Position(Phase.QUEUE, after)))
            position = Position(Phase.LOGS)
            if len(jobs) >= size:
                return Page(jobs, encode_token(position))
        found, after = await self._sealed(tenant, position.sequence, size - len(jobs))
        jobs.extend(found)
        return Page(jobs, "" if after is None else encode_token(Position(Phase.LOGS, after)))

    async def _queued(self, tenant: str, start: int, size: int) -> tuple[list[JobView], int | None]:
        """Jobs that wait or run, and where the next page of them begins; None: nowhere."""
        batch = await self._jetstream.direct_batch(
            JOBS_STREAM, jobs_of_tenant(tenant), start, size, max_bytes=READ_BYTES
        )
        subjects = [log_subject(*tenant_and_job(stored.subject)) for stored in batch.messages]
        heads = await asyncio.gather(
            *(self._jetstream.direct_last(EVENTS_STREAM, subject) for subject in subjects)
        )
        views = [
            self._view(partial(_waiting, stored, head))
            for stored, head in zip(batch.messages, heads, strict=True)
        ]
        after = batch.messages[-1].sequence + 1 if batch.messages and batch.pending else None
        # One that has ended is left to the second phase.
        return [job for job in views if job is not None and not job.state.terminal], after

    async def _sealed(self, tenant: str, start: int, size: int) -> tuple[list[JobView], int | None]:
        """Finished jobs, and where the next page of them begins; None: nowhere."""
        jobs: list[JobView] = []
        ahead = min(_READ_AHEAD, 4 * size)
        for _ in range(_READS_PER_PAGE):
            batch = await self._jetstream.direct_batch(
                EVENTS_STREAM, logs_of_tenant(tenant), start, ahead, max_bytes=READ_BYTES
            )
            for stored in batch.messages:
                start = stored.sequence + 1
                job = self._view(partial(_finished, stored))
                if job is not None:
                    jobs.append(job)
                if len(jobs) >= size:
                    return jobs, start
            if not (batch.messages and batch.pending):
                return jobs, None
        return jobs, start

    def _view(self, find: Callable[[], FoundJob | None]) -> JobView | None:
        try:
            found = find()
            return None if found is None else last_line_view(found)
        except CorruptLogError as error:
            # One bad record must not hide all the others.
            self._metrics.unreadable.inc()
            _log.error("left out of a list", reason=str(error))
            return None


def _waiting(stored: Stored, head: Stored | None) -> FoundJob:
    return found_in_queue(stored, head_of(head))


def _finished(stored: Stored) -> FoundJob | None:
    head: LogHead = head_of(stored)
    if head.line is None or head.line.job is None or head.deleted:
        return None
    return FoundJob(tenant_and_job(stored.subject)[0], head.line.job, head)


def _bad_token() -> InvalidRequest:
    return InvalidRequest("page_token is not one of this platform's", field="page_token")
