"""The jobs that this process holds: kept alive, nudged, verified, and handed back by a drain."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.events import Terminal
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import ACK_WAIT_SECONDS
from tidegate.contracts.subjects import NUDGE_ALL, tenant_and_job
from tidegate.worker.cancels import is_cancelled
from tidegate.worker.delivery import BACKOFF, Deliveries, Delivery
from tidegate.worker.held_job import HeldJob, Stop
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.ownership import Ownership, ownership
from tidegate.worker.standstill import Standstill

_log = structlog.stdlib.get_logger(module=__name__)

_KEEP_ALIVE_SECONDS: Final = ACK_WAIT_SECONDS / 3
# What handing back may take, out of the deadline of a drain: a share of it, and at most so long.
_HAND_BACK_SHARE: Final = 0.25
_HAND_BACK_SECONDS: Final = 3.0
# Of that, the share in which attempts may still say in their logs that they are handed back.
_PARTING_SHARE: Final = 0.6
# Jobs that are verified at once.
_VERIFIED_AT_ONCE: Final = 32


Handler = Callable[[HeldJob], Awaitable[None]]
Released = Callable[[], None]
# The queue of a job, its end, and the seconds that it was held.
Ended = Callable[[str, Terminal, float], None]


class HeldJobs:
    """A component: takes deliveries, runs `handler` for each, ends with none left."""

    name = "jobs"

    def __init__(
        self,
        handler: Handler,
        *,
        nats: NatsConnection,
        jetstream: JetStream,
        deliveries: Deliveries,
        standstill: Standstill,
        guard: TaskGuard,
        metrics: WorkerMetrics,
    ) -> None:
        self._handler = handler
        self._nats = nats
        self._jetstream = jetstream
        self._deliveries = deliveries
        self._standstill = standstill
        self._guard = guard
        self._metrics = metrics
        self._jobs: dict[tuple[str, str], HeldJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts: Counter[tuple[str, JobClass]] = Counter()
        self._gauges = {each: metrics.running.labels(each) for each in JobClass}
        self._draining = False
        self._released: Released = lambda: None
        self._ended: Ended = lambda queue, end, seconds: None
        self._drains: Callable[[], None] = lambda: None

    def on_release(self, released: Released) -> None:
        """Calls `released` whenever a slot is free again."""
        self._released = released

    def on_ended(self, ended: Ended) -> None:
        """Calls `ended` for each job that an attempt here brought to its end, once let go of."""
        self._ended = ended

    def on_drain(self, drains: Callable[[], None]) -> None:
        """Calls `drains` when a drain begins."""
        self._drains = drains

    @property
    def draining(self) -> bool:
        """Whether every new delivery goes back."""
        return self._draining

    def count(self, queue: str, job_class: JobClass) -> int:
        """Jobs of a queue and class that are held."""
        return self._counts[queue, job_class]

    def holds(self, subject: str) -> bool:
        """Whether the job of a subject is held already."""
        return tenant_and_job(subject) in self._jobs

    async def start(self) -> None:
        """Listens for nudges and begins to keep alive."""
        await self._nats.client.subscribe(NUDGE_ALL, cb=self._on_nudge)
        self._nats.on_reconnect(self._on_reconnect)
        self._standstill.on_end(self._on_standstill)
        self._guard.spawn_eternal("keep-alive", self._keep_alive())

    async def stop(self, deadline: Deadline) -> None:
        """Lets jobs end for as long as there is time, then hands the others back."""
        self.refuse_new()
        for_hand_back = min(_HAND_BACK_SECONDS, deadline.remaining() * _HAND_BACK_SHARE)
        await self._wait(deadline.remaining() - for_hand_back)
        left = list(self._jobs.values())
        for held in left:
            held.end(Stop.DRAINED)
        await self._wait(for_hand_back * _PARTING_SHARE)
        for task in self._tasks:
            task.cancel()
        await self._wait()
        await asyncio.gather(*(self._return(held) for held in left))

    async def _wait(self, seconds: float | None = None) -> None:
        """Returns when no task is left, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def take(self, delivery: Delivery, queue: str, job_class: JobClass) -> None:
        """Works on a delivery, or goes on with its job; a new one while draining goes back."""
        older = self._jobs.get(tenant_and_job(delivery.subject))
        if older is not None:
            # From now on it is the one to keep alive, to acknowledge and to hand back.
            older.delivery = delivery
            self._guard.spawn("redelivered", self._renew(older, delivery))
        elif self._draining:
            self.refuse(delivery)
        else:
            self._begin(delivery, queue, job_class)

    def _begin(self, delivery: Delivery, queue: str, job_class: JobClass) -> None:
        held = HeldJob(delivery, queue, job_class)
        # Registered before anything is read: a nudge that comes from now on finds it.
        self._jobs[held.tenant, held.job_id] = held
        self._counts[queue, job_class] += 1
        self._gauges[job_class].inc()
        held.task = asyncio.create_task(self._run(held), name=held.job_id)
        self._tasks.add(held.task)
        held.task.add_done_callback(lambda task: self._release(held, task))

    async def _renew(self, older: HeldJob, delivery: Delivery) -> None:
        """After a redelivery: the attempt goes on if its log still is ours, else a new one begins.

        The attempt has the log's fence; beginning anew here would only pay the model twice.
        """
        await self._verify(older)
        if older.working:
            return
        if older.task is not None and not older.task.done():
            await asyncio.wait({older.task})
        if older.delivery is delivery:
            self.take(delivery, older.queue, older.job_class)

    def refuse_new(self) -> None:
        """Begins the drain: from now on every delivery goes back."""
        if not self._draining:
            self._draining = True
            self._drains()

    def refuse(self, delivery: Delivery) -> None:
        """Hands a delivery back that nobody works on."""
        task = self._guard.spawn("hand-back", self._hand_back(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _release(self, held: HeldJob, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._jobs.get((held.tenant, held.job_id)) is held:
            del self._jobs[held.tenant, held.job_id]
        self._counts[held.queue, held.job_class] -= 1
        self._gauges[held.job_class].dec()
        if held.ended is not None:
            seconds = asyncio.get_running_loop().time() - held.since
            self._ended(held.queue, held.ended, seconds)
        self._released()

    async def _run(self, held: HeldJob) -> None:
        try:
            await self._handler(held)
        except Exception as error:
            # Without a word to JetStream, it is delivered again in its time: at once it would most
            # likely end the same way.
            _log.error("a job could not be worked on", job=held.job_id, exc_info=error)
            self._metrics.jobs.labels("fault", held.job_class).inc()

    async def _hand_back(self, delivery: Delivery) -> None:
        await self._deliveries.hand_back(delivery)

    async def _return(self, held: HeldJob) -> None:
        """Hands a job back if it is ours to do so; its work has ended, with or without its end."""
        if held.parked:
            return
        with suppress(JetStreamError):
            if await ownership(self._jetstream, held) is Ownership.MINE:
                confirmed = await self._deliveries.hand_back(held.delivery)
                _log.info("handed back", job=held.job_id, confirmed=confirmed)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_ALIVE_SECONDS)
            await self._tell_alive()

    async def _tell_alive(self) -> None:
        with suppress(Unavailable):
            for held in list(self._jobs.values()):
                if held.working:
                    await self._deliveries.keep_alive(held.delivery)

    async def _on_reconnect(self) -> None:
        # First of all, for their time may be about to run out.
        await self._tell_alive()
        await self._verify_all()

    async def _on_standstill(self) -> None:
        """Its jobs may be others' by now, and one that was not looked at yet cannot tell."""
        for held in list(self._jobs.values()):
            if held.attempts is None:
                await held.abandon()
        await self._verify_all()

    async def _on_nudge(self, message: "_Nudge") -> None:
        held = self._jobs.get(tenant_and_job(message.subject))
        if held is not None:
            self._guard.spawn("nudge", self._verify(held))

    async def _verify_all(self) -> None:
        turns = asyncio.Semaphore(_VERIFIED_AT_ONCE)

        async def verify(held: HeldJob) -> None:
            async with turns:
                await self._verify(held)

        await asyncio.gather(*(verify(held) for held in list(self._jobs.values())))

    async def _verify(self, held: HeldJob) -> None:
        """Reads, for as long as it takes, whether the job is cancelled or no longer ours."""
        tries = 0
        while held.working:
            try:
                await self._look(held)
            except JetStreamError:
                await BACKOFF.pause(tries)
                tries += 1
            else:
                return

    async def _look(self, held: HeldJob) -> None:
        created_ms = held.delivery.created_ms
        if await is_cancelled(self._jetstream, held.tenant, held.job_id, created_ms):
            held.end(Stop.CANCELLED)
        if held.attempts is None:
            return  # its own first look is still to come
        whose = await ownership(self._jetstream, held)
        if whose is Ownership.MINE or (whose is Ownership.SEALED and held.sealing):
            return
        if held.working:
            self._metrics.jobs.labels("lost", held.job_class).inc()
            _log.info("lost", job=held.job_id, why=whose.name, attempt=held.attempts)
            await held.abandon()


class _Nudge(Protocol):
    @property
    def subject(self) -> str: ...
