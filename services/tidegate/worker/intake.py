"""The intake: keeps the right number of jobs asked for, of each queue and class."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.subjects import consumer_name
from tidegate.eventlog.streams import consumer_exists
from tidegate.worker.delivery import Message, delivery_of
from tidegate.worker.held import HeldJobs
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.plan import plan_pulls, split_batch
from tidegate.worker.pull import Puller
from tidegate.worker.standstill import Standstill

_log = structlog.stdlib.get_logger(module=__name__)

_CONDITION: Final = "queues"
_TICK_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
# Requests outstanding per consumer: enough that slots which become free one by one are asked for
# while earlier requests still wait, few enough for a consumer that thousands of workers share.
_PULLERS: Final = 4
_REFUSED_SECONDS: Final = (0.25, 2.0)
# A consumer with messages fills a request within a few milliseconds; after so long it has none.
_SETTLED_SECONDS: Final = 0.025


class Lane:
    """One consumer: the requests to it, and its messages."""

    def __init__(
        self,
        queue: str,
        job_class: JobClass,
        nats: NatsConnection,
        metrics: WorkerMetrics,
        intake: "Intake",
        *,
        needed: bool,
    ) -> None:
        self.queue = queue
        self.job_class = job_class
        self.consumer = consumer_name(queue, job_class)
        self._intake = intake
        self._refused_until = 0.0
        self._clock = asyncio.get_running_loop().time
        self.backlog = False
        # Known to be there: it is not asked, before that and after a refusal.
        self.there = False
        # One of a queue that came with new routes is not missed before it was there.
        self.needed = needed
        self.pullers = [
            Puller(nats, self.consumer, metrics, on_message=self._on_message, on_end=self._on_end)
            for _ in range(_PULLERS)
        ]

    @property
    def asked(self) -> int:
        """Jobs that were asked for and have not come."""
        return sum(puller.asked for puller in self.pullers)

    @property
    def idle(self) -> bool:
        """Whether nothing waits in it, as far as an unanswered request tells."""
        moment = self._clock() - _SETTLED_SECONDS
        return any(puller.waits_since(moment) for puller in self.pullers)

    async def ask(self, number: int, *, at_once: bool = False) -> None:
        """Asks for more, if there is a puller for it and it is worth a request.

        Raises Unavailable while disconnected.
        """
        idle = next((puller for puller in self.pullers if not puller.asked), None)
        # With plenty outstanding the next few can wait for company.
        worth_it = number > 0 and 2 * number >= self.asked
        may_ask = self.there and self._clock() >= self._refused_until
        if idle is not None and worth_it and may_ask:
            await idle.ask(number, at_once=at_once)

    def _on_message(self, message: Message) -> None:
        self._intake.deliver(self, message)

    def _on_end(self, puller: Puller, refused: bool) -> None:
        self.backlog = puller.backlog
        if refused:
            self._refused_until = self._clock() + random.uniform(*_REFUSED_SECONDS)
            self.there = False
            self._intake.doubt()
        self._intake.wake()


class Intake:
    """A component: pulls for ever, and is ready while every queue's consumers are there.

    `slots` are those of each queue; `rests` says whether a queue's batch jobs are to be left alone.
    """

    name = "intake"

    def __init__(
        self,
        queues: Sequence[str],
        slots: int,
        *,
        rests: Callable[[str], bool],
        nats: NatsConnection,
        jetstream: JetStream,
        held: HeldJobs,
        standstill: Standstill,
        health: Health,
        guard: TaskGuard,
        metrics: WorkerMetrics,
    ) -> None:
        self._slots = slots
        self._rests = rests
        self._nats = nats
        self._jetstream = jetstream
        self._held = held
        self._standstill = standstill
        self._health = health
        self._guard = guard
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._doubt = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._again: asyncio.TimerHandle | None = None
        self._queues: list[tuple[Lane, Lane]] = []
        self._add(queues, slots, needed=True)
        health.set(_CONDITION, False, "starting")

    def serve(self, queues: Sequence[str], slots: int) -> None:
        """Serves these queues too, besides those served already, with so many slots for each.

        A queue is not left again: its last jobs must be ended, with or without a route.
        """
        self._add(queues, slots, needed=False)
        self.doubt()

    def _add(self, queues: Sequence[str], slots: int, *, needed: bool) -> None:
        for queue in queues:
            if queue not in self.queues:
                interactive, batch = (
                    Lane(queue, job_class, self._nats, self._metrics, self, needed=needed)
                    for job_class in (JobClass.INTERACTIVE, JobClass.BATCH)
                )
                self._queues.append((interactive, batch))
        self._slots = slots
        self._metrics.slots.set(slots * len(self._queues))

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that are served."""
        return tuple(interactive.queue for interactive, _ in self._queues)

    @property
    def _lanes(self) -> list[Lane]:
        return [lane for lanes in self._queues for lane in lanes]

    def wake(self) -> None:
        """Has it look again at what to ask for."""
        self._wake.set()

    def doubt(self) -> None:
        """Has it look whether the consumers that refused are there still."""
        self._doubt.set()

    def deliver(self, lane: Lane, message: Message) -> None:
        """Hands a message on, or back where there is no slot for it."""
        try:
            delivery = delivery_of(message)
        except ValueError:
            _log.warning("a message that is no delivery", consumer=lane.consumer)
            return
        if self._standstill.doubtful:
            # Not handed back either: that would start a job again that another worker runs.
            self._metrics.jobs.labels("doubtful", lane.job_class).inc()
            return
        held = self._held
        taken = sum(held.count(lane.queue, job_class) for job_class in JobClass)
        if taken < self._slots or held.holds(delivery.subject):
            held.take(delivery, lane.queue, lane.job_class)
        else:
            held.refuse(delivery)
        self.wake()

    async def start(self) -> None:
        """Waits for the consumers, for as long as it takes, then begins to pull."""
        await self._until_there()
        self._held.on_release(self.wake)
        self._nats.on_reconnect(self._begin_anew)
        self._tasks = [
            self._guard.spawn_eternal("pull", self._pull()),
            self._guard.spawn_eternal("consumers", self._watch()),
        ]

    async def stop(self, deadline: Deadline) -> None:
        """Asks for nothing more; what still arrives is handed back."""
        del deadline  # the lifecycle cancels
        self._health.set(_CONDITION, False, "draining")
        self._held.refuse_new()
        for task in self._tasks:
            task.cancel()
        if self._again is not None:
            self._again.cancel()
        await asyncio.gather(*(puller.close() for lane in self._lanes for puller in lane.pullers))

    async def _watch(self) -> None:
        """Somebody may remove a consumer, or its stream; gateways make them again."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            await self._until_there()

    async def _until_there(self) -> None:
        """Returns when every consumer is there; ready as soon as all are that once were needed."""
        while True:
            why = await self._absence()
            self._health.set(_CONDITION, why is None, why or "")
            if all(lane.there for lane in self._lanes):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _absence(self) -> str | None:
        """Looks for the consumers in doubt; why one of them cannot be asked, if so."""
        why = None
        for lane in self._lanes:
            if lane.there:
                continue
            try:
                lane.there = await consumer_exists(self._jetstream, lane.queue, lane.job_class)
            except JetStreamError:
                return "JetStream does not answer"
            if lane.there:
                lane.needed = True
            elif lane.needed:
                why = f"consumer {lane.consumer} is not there"
        self.wake()
        return why

    async def _begin_anew(self) -> None:
        """After a reconnect no server knows of what was asked for over the old connection."""
        for lane in self._lanes:
            for puller in lane.pullers:
                await puller.forget()
        self.wake()

    async def _pull(self) -> None:
        while True:
            self._wake.clear()
            for interactive, batch in self._queues:
                with suppress(Unavailable):
                    await self._ask(interactive, batch)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._wake.wait()
            for lane in self._lanes:
                for puller in lane.pullers:
                    await puller.give_up_if_silent()

    async def _ask(self, interactive: Lane, batch: Lane) -> None:
        running_i = self._held.count(interactive.queue, JobClass.INTERACTIVE)
        running_b = self._held.count(batch.queue, JobClass.BATCH)
        asks = plan_pulls(self._slots, running_i, running_b, interactive.asked, batch.asked)
        await interactive.ask(asks.interactive)
        if self._rests(batch.queue):
            return
        waiting, at_once = split_batch(self._slots, running_b, batch.asked, asks.batch)
        await batch.ask(waiting)
        if not (batch.backlog and at_once):
            return
        if interactive.idle or not interactive.asked:
            await batch.ask(at_once, at_once=True)
        elif self._again is None:
            # Slots that became free together are interactive's first; what it leaves is lent when
            # its request has had the time to be filled.
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(_SETTLED_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self.wake()
