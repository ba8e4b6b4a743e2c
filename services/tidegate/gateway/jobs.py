"""The core: what can be done with jobs, for surfaces that bring the caller and the arguments.

It knows no transport. Every method takes the authenticated caller, and raises the errors of the
taxonomy only; another tenant's job does not exist here.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from tidegate.chassis.jetstream import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    WRONG_LAST_SEQUENCE,
    JetStream,
    JetStreamError,
    RefusedError,
)
from tidegate.chassis.keyring import Caller
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts import endings
from tidegate.contracts.control import cancels, encode_cancel
from tidegate.contracts.errors import (
    FailedPrecondition,
    InvalidRequest,
    Unavailable,
)
from tidegate.contracts.jobs import JobView
from tidegate.contracts.subjects import CONTROL_STREAM, control_subject, nudge_subject
from tidegate.eventlog import orphan
from tidegate.eventlog.appender import FencedError, UnsettledError
from tidegate.eventlog.lookup import FoundJob, require_job, view_job
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.tail import Entry
from tidegate.eventlog.writer import LogLimits
from tidegate.gateway.creation import Creator, NewJob, unavailable
from tidegate.gateway.dead_letters import remove_letters
from tidegate.gateway.followers import Followers, Place
from tidegate.gateway.listing import Lister, Page
from tidegate.gateway.store_errors import store_errors

# A log that moves on each time it is read is being written: its owner will see the control record.
_LOOKS: Final = 3
_END_SECONDS: Final = 5.0

# Removes what a job of a tenant has put into the cache. Raises Unavailable.
Forget = Callable[[str, str], Awaitable[None]]


async def forget_nothing(tenant: str, job_id: str) -> None:
    """Where there is no cache."""


class Jobs:
    """What callers may do. `limits` are asked for anew each time: the server's bound may change.

    `forget` is the cache's part in a delete.
    """

    def __init__(
        self,
        nats: NatsConnection,
        jetstream: JetStream,
        creator: Creator,
        lister: Lister,
        reader: LogReader,
        *,
        followers: Followers,
        limits: Callable[[], LogLimits],
        log_metrics: EventLogMetrics,
        clock: Callable[[], float],
        forget: Forget = forget_nothing,
    ) -> None:
        self._nats = nats
        self._jetstream = jetstream
        self._creator = creator
        self._lister = lister
        self._reader = reader
        self._followers = followers
        self._limits = limits
        self._log_metrics = log_metrics
        self._clock = clock
        self._forget = forget

    async def create(self, caller: Caller, new: NewJob) -> JobView:
        """As `Creator.create`."""
        return await self._creator.create(caller, new)

    async def get(self, caller: Caller, job_id: str) -> JobView:
        """The job with its answer so far.

        Raises:
            NotFound, Unavailable: as their docstrings say.
        """
        with store_errors():
            return await view_job(self._jetstream, await self._require(caller, job_id))

    async def page(self, caller: Caller, page_size: int, page_token: str) -> Page:
        """A page of the tenant's jobs.

        Raises:
            InvalidRequest, Unavailable: as their docstrings say.
        """
        with store_errors():
            return await self._lister.page(caller.tenant, page_size, page_token)

    async def cancel(self, caller: Caller, job_id: str) -> JobView:
        """The job after its cancel was recorded durably; one that has ended stays as it is.

        Raises:
            NotFound: there is no such job.
            Unavailable: whether it was recorded is not known; repeat.
        """
        with store_errors():
            found = await self._require(caller, job_id)
            if not found.head.sealed:
                await self._record_cancel(found)
                await self._end_if_unowned(found)
                found = await self._require(caller, job_id)
            return await view_job(self._jetstream, found)

    async def cancel_unread(self, found: FoundJob) -> None:
        """Records the cancel of a job that its readers have left for good.

        Raises:
            Unavailable: whether it was recorded is not known; repeat.
        """
        with store_errors():
            await self._record_cancel(found)
            await self._end_if_unowned(found)

    async def delete(self, caller: Caller, job_id: str) -> None:
        """Removes a finished job, and what it put into the cache.

        Its id stays taken for as long as a result would be kept.

        Raises:
            NotFound: there is no such job.
            FailedPrecondition: it has not ended.
            Unavailable: it may or may not be gone; repeat. While the cache is away it is not.
        """
        with store_errors():
            for _ in range(_LOOKS):
                found = await self._require(caller, job_id)
                if not found.head.sealed:
                    raise FailedPrecondition("the job has not ended; cancel it first")
                with contextlib.suppress(FencedError):
                    return await self._bury(found)
            raise unavailable()

    async def follow(
        self, caller: Caller, job_id: str, after_sequence: int, place: Place | None = None
    ) -> AsyncGenerator[list[Entry], None]:
        """The job's events after a sequence, in batches, until its terminal one.

        `place` is the stream's, where it was taken before; else it is taken now. An empty batch
        says that its `wake` was set without events.

        Raises:
            InvalidRequest: the sequence is negative.
            ResourceExhausted: there are too many streams, of this tenant or here.
            NotFound: there is no such job, or it is deleted meanwhile.
            Unavailable: the log cannot be read, or this process drains.
        """
        if after_sequence < 0:
            raise InvalidRequest("after_sequence must not be negative", field="after_sequence")
        caller.check_job(job_id)
        taken = self._followers.one_more(caller.tenant) if place is None else nullcontext(place)
        with taken as held, store_errors():
            events = self._reader.events(
                caller.tenant,
                job_id,
                after_sequence,
                wake=held.wake,
                before_wait=held.check,
            )
            async with contextlib.aclosing(events):
                async for batch in events:
                    yield batch

    def check_room(self, caller: Caller) -> None:
        """Returns where there is a place for a stream that cannot be resumed, or raises as it."""
        self._followers.check_room(caller.tenant, resumable=False)

    def place(self, caller: Caller) -> AbstractContextManager[Place]:
        """The place of a stream that cannot be resumed, so that no job is made in vain.

        It is left more time when this process drains.

        Raises:
            ResourceExhausted: there are too many streams, of this tenant or here.
            Unavailable: this process drains.
        """
        return self._followers.one_more(caller.tenant, resumable=False)

    async def drain(self, seconds: float) -> None:
        """As `Followers.drain`."""
        await self._followers.drain(seconds)

    async def _require(self, caller: Caller, job_id: str) -> FoundJob:
        caller.check_job(job_id)
        return await require_job(self._jetstream, caller.tenant, job_id)

    async def _record_cancel(self, found: FoundJob) -> None:
        """Fenced, so that a repeated cancel does not make the first one look younger."""
        tenant, job_id = found.tenant, found.summary.id
        subject = control_subject(tenant, job_id)
        record = encode_cancel(found.summary.created_ms)
        try:
            await self._jetstream.publish(subject, record, {EXPECTED_LAST_SUBJECT_SEQUENCE: "0"})
        except RefusedError as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
            kept = await self._jetstream.last(CONTROL_STREAM, subject)
            if kept is None or not cancels(kept.payload, found.summary.created_ms):
                # It was meant for an earlier job of the same request id.
                await self._jetstream.publish(subject, record, {})
        with contextlib.suppress(Unavailable):  # The record is what counts.
            await self._nats.publish(nudge_subject(tenant, job_id))

    async def _end_if_unowned(self, found: FoundJob) -> None:
        """What cannot be done now, the reaper does later."""
        if found.head.line is not None:
            return
        with contextlib.suppress(FencedError, UnsettledError, JetStreamError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await orphan.reap(
                    self._jetstream,
                    found,
                    endings.cancelled(),
                    limits=self._limits(),
                    metrics=self._log_metrics,
                    clock=self._clock,
                )

    async def _bury(self, found: FoundJob) -> None:
        # First: where the cache cannot be asked, nothing is gone, and a repeat does it all.
        await self._forget(found.tenant, found.summary.id)
        if found.queued is not None:
            # Its worker has not acknowledged it yet; a tombstone with a message would come back.
            await orphan.take_from_queue(self._jetstream, found.queue_sequence)
        # Before the log, so that a delete that stops in between is repeated.
        await self._remove_letters(found)
        await orphan.bury(
            self._jetstream,
            found,
            limits=self._limits(),
            metrics=self._log_metrics,
            clock=self._clock,
        )
        if found.queued is not None:
            # Its worker may have been about to write the letter, or to store the answer.
            with contextlib.suppress(JetStreamError):
                await self._remove_letters(found)
            with contextlib.suppress(Unavailable):
                await self._forget(found.tenant, found.summary.id)

    async def _remove_letters(self, found: FoundJob) -> None:
        await remove_letters(self._jetstream, found.tenant, found.summary.id)
