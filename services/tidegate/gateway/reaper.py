"""The reaper: ends jobs that nobody else ends, so that every accepted job ends.

It expires jobs past their deadline, ends cancelled ones whose worker does not listen, and clears
away messages of jobs that have ended. All of it is fenced on what was read: several gateways reap
at once, and a worker that ends its job first wins.

Each gateway reads what has waited for a while in the queue, whoever accepted it, and is told of its
own jobs that are due before that. A short-lived job of a gateway that was killed thus expires late,
by as long as that while.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from sys import intern
from typing import Final, NamedTuple

import msgspec
import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import (
    JetStream,
    JetStreamError,
    NoAnswerError,
    RefusedError,
    Stored,
)
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts import endings
from tidegate.contracts.control import cancels
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.events import UNDECODABLE, CorruptLogError, Terminal
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.subjects import (
    CONTROL_ALL,
    CONTROL_STREAM,
    JOBS_ALL,
    JOBS_STREAM,
    nudge_subject,
    tenant_and_job,
)
from tidegate.eventlog import orphan
from tidegate.eventlog.appender import FencedError, UnsettledError
from tidegate.eventlog.lookup import FoundJob, find_job
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.writer import LogLimits
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.scan import Scan

_log = structlog.stdlib.get_logger(module=__name__)

_ROUND_SECONDS: Final = 1.0
_AT_ONCE: Final = 16
# Of each kind in a round, so that a burst of one tenant's delays no cancel of another's for long.
_PER_ROUND: Final = 500
# One job's end; when JetStream fails in the middle of it, the next round looks again.
_END_SECONDS: Final = 10.0
_AGAIN_MS: Final = 1_000
# Below the shortest pause between rounds, so that each cancel is seen in each of them.
_LOOK_AGAIN_MS: Final = 700


@dataclass(frozen=True, slots=True)
class ReaperOptions:
    """Seconds that a running job is left to its worker past its deadline, and once cancelled.

    `scan_age` is seconds that a message waits in the queue before the reaper reads it.
    """

    expire_grace: float
    cancel_grace: float
    scan_age: float


class _Envelope(msgspec.Struct):
    ttl_ms: int


class _Due(NamedTuple):
    at_ms: int
    tenant: str
    job_id: str


@dataclass(slots=True)
class _Cancel:
    tenant: str
    job_id: str
    recorded_ms: int
    sequence: int
    record: bytes
    look_at_ms: int = 0


_envelope_decoder = msgspec.json.Decoder(_Envelope)


class Reaper:
    """A component: one task that makes its round each second, whatever happens to NATS.

    `bill` says in a job's end what its attempts spent. `clock` gives seconds since the epoch;
    deadlines are judged by JetStream's clock.
    """

    name = "reaper"

    def __init__(
        self,
        nats: NatsConnection,
        jetstream: JetStream,
        guard: TaskGuard,
        *,
        options: ReaperOptions,
        limits: Callable[[], LogLimits],
        metrics: GatewayMetrics,
        log_metrics: EventLogMetrics,
        bill: orphan.Bill,
        clock: Callable[[], float],
    ) -> None:
        self._nats = nats
        self._jetstream = jetstream
        self._guard = guard
        self._options = options
        self._limits = limits
        self._metrics = metrics
        self._log_metrics = log_metrics
        self._bill = bill
        self._clock = clock
        self._jobs = Scan(jetstream, JOBS_STREAM, JOBS_ALL, age=options.scan_age)
        self._controls = Scan(jetstream, CONTROL_STREAM, CONTROL_ALL)
        self._due: list[_Due] = []
        self._cancels: dict[int, _Cancel] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._task: asyncio.Task[object] | None = None
        self._failing = False

    def accepted(self, job: QueuedJob, created_ms: int) -> None:
        """Hears of a job of this gateway; it may be over before a scan would meet it."""
        if job.ttl_ms <= (self._options.scan_age + 2 * _ROUND_SECONDS) * 1000:
            heapq.heappush(self._due, _Due(created_ms + job.ttl_ms, job.tenant, job.id))

    async def start(self) -> None:
        """Begin; the first round reads all that waits."""
        self._task = self._guard.spawn_eternal(self.name, self._run())

    async def stop(self, deadline: Deadline) -> None:
        """Stop; what is half done, another gateway or the next start ends."""
        del deadline
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                behind = await self._round()
            except (JetStreamError, Unavailable) as error:
                self._metrics.reaper_failures.inc()
                self._say_failing(str(error))
            else:
                self._say_failing(None)
                if behind:
                    continue
            # Not in step with the other gateways, so that they seldom race for a job.
            await asyncio.sleep(_ROUND_SECONDS * random.uniform(0.8, 1.2))

    def _say_failing(self, reason: str | None) -> None:
        if self._failing != (reason is not None):
            self._failing = reason is not None
            _log.info("jobs are not reaped" if reason else "jobs are reaped again", reason=reason)

    async def _round(self) -> bool:
        """Whether it left work that is due."""
        async for batch in self._controls.new(self._local_ms()):
            for stored in batch:
                tenant, job_id = tenant_and_job(stored.subject)
                self._cancels[stored.sequence] = _Cancel(
                    tenant, job_id, stored.time_ms, stored.sequence, stored.payload
                )
        # First, for their callers wait.
        cancels = self._take_cancels()
        await self._each(self._see_cancelled(cancel) for cancel in cancels)
        async for batch in self._jobs.new(self._local_ms()):
            for stored in batch:
                self._track(stored)
            await asyncio.sleep(0)
        await self._each(self._expire(due) for due in self._take_due())
        self._metrics.tracked.set(len(self._due))
        return self._is_due() or len(cancels) == _PER_ROUND

    # Deadlines.

    def _track(self, stored: Stored) -> None:
        try:
            ttl_ms = _envelope_decoder.decode(stored.payload).ttl_ms
        except UNDECODABLE:
            # A worker that meets it ends it; without its deadline there is nothing to do here.
            self._unreadable(tenant_and_job(stored.subject)[1])
            return
        tenant, job_id = tenant_and_job(stored.subject)
        heapq.heappush(self._due, _Due(stored.time_ms + ttl_ms, intern(tenant), job_id))

    def _take_due(self) -> list[_Due]:
        taken: list[_Due] = []
        while len(taken) < _PER_ROUND and self._is_due():
            taken.append(heapq.heappop(self._due))
        return taken

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0].at_ms <= self._now_ms()

    async def _expire(self, due: _Due) -> None:
        if not await self._try(due.job_id, self._expire_if_over(due)):
            self._again(due, self._now_ms() + _AGAIN_MS)

    async def _expire_if_over(self, due: _Due) -> None:
        found = await find_job(self._jetstream, due.tenant, due.job_id)
        if found is None or found.queued is None:
            return
        if found.summary.deadline_ms > self._now_ms():
            # Heard of by this process's clock; or the id was used again.
            self._again(due, found.summary.deadline_ms)
            return
        over_at = found.summary.deadline_ms + round(self._options.expire_grace * 1000)
        if found.head.line is not None and not found.head.sealed and self._now_ms() < over_at:
            self._again(due, over_at)
            return
        await self._reap(found, endings.expired(), "expired")

    def _again(self, due: _Due, at_ms: int) -> None:
        heapq.heappush(self._due, _Due(at_ms, due.tenant, due.job_id))

    # Cancels.

    def _take_cancels(self) -> list[_Cancel]:
        now = self._local_ms()
        due = (cancel for cancel in self._cancels.values() if cancel.look_at_ms <= now)
        taken = list(islice(due, _PER_ROUND))
        for cancel in taken:
            cancel.look_at_ms = now + _LOOK_AGAIN_MS
            # To the end, so that each has its turn.
            self._cancels[cancel.sequence] = self._cancels.pop(cancel.sequence)
        return taken

    async def _see_cancelled(self, cancel: _Cancel) -> None:
        await self._try(cancel.job_id, self._end_cancelled(cancel))

    async def _end_cancelled(self, cancel: _Cancel) -> None:
        try:
            await self._end_or_nudge(cancel)
        except CorruptLogError:
            # No later look would read it either; the record goes with its age.
            self._cancels.pop(cancel.sequence, None)
            raise

    async def _end_or_nudge(self, cancel: _Cancel) -> None:
        found = await find_job(self._jetstream, cancel.tenant, cancel.job_id)
        over = found is None or (found.queued is None and found.head.sealed)
        if found is None or over or not cancels(cancel.record, found.summary.created_ms):
            # A record that outlived its job would cancel the next one of the same request id.
            await self._forget(cancel)
            return
        late = self._now_ms() - cancel.recorded_ms >= self._options.cancel_grace * 1000
        if late or found.head.line is None or found.head.sealed:
            await self._reap(found, endings.cancelled(), "cancelled")
        else:
            await self._nats.publish(nudge_subject(cancel.tenant, cancel.job_id))

    async def _forget(self, cancel: _Cancel) -> None:
        body = {"seq": cancel.sequence, "no_erase": True}
        try:
            await self._jetstream.api(f"STREAM.MSG.DELETE.{CONTROL_STREAM}", body)
        except RefusedError as error:
            # Another gateway was first; any other refusal leaves the record to the next look.
            if error.code not in orphan.ALREADY_GONE:
                raise
        self._cancels.pop(cancel.sequence, None)

    # Both.

    async def _reap(self, found: FoundJob, event: Terminal, outcome: str) -> None:
        async with asyncio.timeout(_END_SECONDS):
            await orphan.reap(
                self._jetstream,
                found,
                event,
                limits=self._limits(),
                metrics=self._log_metrics,
                clock=self._clock,
                bill=self._bill,
            )
        self._metrics.reaped.labels("left" if found.head.sealed else outcome).inc()

    async def _try(self, job_id: str, work: Awaitable[None]) -> bool:
        """Whether the work was done; if not, it is worth another look."""
        try:
            async with self._room:
                await work
        except CorruptLogError:
            self._unreadable(job_id)
        except (
            FencedError,
            UnsettledError,
            NoAnswerError,
            RefusedError,
            TimeoutError,
            Unavailable,
        ):
            self._metrics.reaper_failures.inc()
            return False
        return True

    def _unreadable(self, job_id: str) -> None:
        self._metrics.unreadable.inc()
        _log.error("cannot be read, and is left alone", job=job_id)

    async def _each(self, works: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*works)

    def _local_ms(self) -> int:
        return int(self._clock() * 1000)

    def _now_ms(self) -> int:
        """Now, by JetStream's clock."""
        return self._local_ms() + self._controls.ahead_ms
