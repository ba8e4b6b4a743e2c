"""Jobs whose readers have gone: cancelled after a linger, where that is their policy.

A process that loses its last reader of a job says so, and one gateway hears it. Only a job that is
to be cancelled then, and has not ended, is lingered over; for any other, that look was all. After
the linger the whole fleet is asked, twice, for a reader on whichever surface. Who left a moment ago
counts from that moment, whichever gateway heard of it.

Whatever is not known lets the job go on: a gateway that dies takes its lingers with it, one that is
stopped leaves them to another, and while NATS does not answer, nothing is decided.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.events import UNDECODABLE, CorruptLogError
from tidegate.contracts.subjects import JOBS_STREAM, job_anywhere, left_subject
from tidegate.eventlog.census import Census
from tidegate.eventlog.lookup import FoundJob, find_job
from tidegate.eventlog.presence import Presence
from tidegate.gateway.metrics import GatewayMetrics

_log = structlog.stdlib.get_logger(module=__name__)

# Those that are beyond it go on without readers, which is safe.
_MOST: Final = 10_000
# When many clients leave together; each read brings a prompt into memory.
_READS_AT_ONCE: Final = 16
_RETRY_SECONDS: Final = 1.0
_READ: Final = "read"


class _Envelope(msgspec.Struct):
    on_disconnect: str = "detach"


_envelope_decoder = msgspec.json.Decoder(_Envelope)

_Job = tuple[str, str]


class Lingers:
    """A component. `linger` is seconds without a reader; `cancel` records that a job is to end.

    Add it before the surfaces, so that it still hears of those who leave in a drain.
    """

    name = "lingers"

    def __init__(
        self,
        nats: NatsConnection,
        jetstream: JetStream,
        guard: TaskGuard,
        presence: Presence,
        census: Census,
        *,
        linger: float,
        cancel: Callable[[FoundJob], Awaitable[None]],
        metrics: GatewayMetrics,
    ) -> None:
        self._nats = nats
        self._jetstream = jetstream
        self._guard = guard
        self._presence = presence
        self._census = census
        self._linger = linger
        self._cancel = cancel
        self._metrics = metrics
        self._lingering: dict[_Job, asyncio.Task[None]] = {}
        # Those of which it was heard since they were last asked about.
        self._heard: set[_Job] = set()
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)

    async def start(self) -> None:
        """Hear of those who leave."""
        await self._census.open(self._on_left)

    async def stop(self, deadline: Deadline) -> None:
        """Leave what is lingered over to another gateway, which begins anew with it."""
        del deadline
        await self._census.close()
        left, self._lingering = self._lingering, {}
        for task in left.values():
            task.cancel()
        with contextlib.suppress(Unavailable):
            for tenant, job_id in left:
                await self._nats.publish(left_subject(tenant, job_id))

    def _on_left(self, tenant: str, job_id: str) -> None:
        job = tenant, job_id
        # Remembered here too: the process that said so may be gone when another gateway asks.
        self._presence.note_left(tenant, job_id)
        self._heard.add(job)
        if job in self._lingering:
            return  # It asks before it ends.
        if len(self._lingering) >= _MOST:
            self._heard.discard(job)
            self._metrics.lingers.labels("too_many").inc()
            return
        task = self._guard.spawn("linger", self._decide(tenant, job_id))
        self._lingering[job] = task
        self._metrics.lingering.set(len(self._lingering))
        task.add_done_callback(lambda _: self._forget(job))

    def _forget(self, job: _Job) -> None:
        self._lingering.pop(job, None)
        self._heard.discard(job)
        self._metrics.lingering.set(len(self._lingering))

    async def _decide(self, tenant: str, job_id: str) -> None:
        try:
            outcome = await self._outcome(tenant, job_id)
        except CorruptLogError:
            outcome = "unreadable"
        self._metrics.lingers.labels(outcome).inc()
        if outcome == "cancelled":
            _log.info("cancelled, for its readers have gone", job=job_id)

    async def _outcome(self, tenant: str, job_id: str) -> str:
        """Looks and waits, until it is known what becomes of the job."""
        step = self._look
        while True:
            try:
                told = await step(tenant, job_id)
            except (JetStreamError, Unavailable):
                told = _RETRY_SECONDS
            else:
                step = self._judge
            if told == _READ and (tenant, job_id) in self._heard:
                # That reader has gone too, before we were done.
                told = self._linger
            if isinstance(told, str):
                return told
            await asyncio.sleep(told)

    async def _look(self, tenant: str, job_id: str) -> str | float:
        """Why there is nothing to wait for, or for how many seconds to wait.

        One read of the queue's message, for a job that has not ended is there; of its envelope
        only, for what a model is asked does not matter here.
        """
        async with self._reads:
            stored = await self._jetstream.last(JOBS_STREAM, job_anywhere(tenant, job_id))
        if stored is None:
            return "ended"
        try:
            policy = _envelope_decoder.decode(stored.payload).on_disconnect
        except UNDECODABLE:
            return "unreadable"
        return self._linger if policy == "cancel" else "detached"

    async def _judge(self, tenant: str, job_id: str) -> str | float:
        """What becomes of the job, or in how many seconds to ask again.

        A silence says something only where NATS works: between the two questions it is looked at.
        """
        self._heard.discard((tenant, job_id))
        told = await self._ask(tenant, job_id)
        if told is None:
            looked = await self._look(tenant, job_id)
            if isinstance(looked, str):
                return looked
            told = await self._ask(tenant, job_id)
        return await self._cancel_unread(tenant, job_id) if told is None else told

    async def _ask(self, tenant: str, job_id: str) -> str | float | None:
        """That it is read, or in how many seconds it will have had no reader for long enough.

        None: nobody answers, as it is when that is so.
        """
        within_ms = round(self._linger * 1000)
        idle_ms = await self._census.ask(tenant, job_id, within_ms=within_ms)
        if idle_ms is None:
            return None
        # When that reader leaves, its process will say so.
        return _READ if idle_ms == 0 else max(self._linger - idle_ms / 1000, 0.0)

    async def _cancel_unread(self, tenant: str, job_id: str) -> str:
        async with self._reads:
            found = await find_job(self._jetstream, tenant, job_id)
            if found is None or found.queued is None or found.head.sealed:
                return "ended"
            await self._cancel(found)
        return "cancelled"
