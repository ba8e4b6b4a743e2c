"""What a worker tells of its load: how full it is, and how long its jobs took.

Told for each queue that is served, every few seconds and at once when a drain begins, by messages
that nobody has to hear. A job costs two additions here, a token nothing.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Terminal
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.load import WorkerLoad, encode_load
from tidegate.contracts.spending import add_cost
from tidegate.contracts.subjects import load_subject
from tidegate.worker.held import HeldJobs
from tidegate.worker.waits import BatchWaits

_EVERY_SECONDS: Final = 2.0


@dataclass(slots=True)
class Ended:
    """Sums over jobs that came to their end here; `priced` of them cost `nano_usd`."""

    jobs: int = 0
    busy_seconds: float = 0.0
    output_tokens: int = 0
    nano_usd: int = 0
    priced: int = 0

    def add(self, end: Terminal, seconds: float) -> None:
        """One more, which was held for `seconds`; all its attempts count for what it spent."""
        self.jobs += 1
        self.busy_seconds += seconds
        self.output_tokens += end.usage.output_tokens + end.lost.output_tokens
        cost = add_cost(end.cost_nano_usd, end.lost_cost_nano_usd)
        if cost is not None:
            self.priced += 1
            self.nano_usd += cost


class LoadTold:
    """A component that tells it; add it before the jobs that it tells of, to end after them.

    `queues` are those that are served now. `blocked` says of one whether all that could answer its
    models is out of order.
    """

    name = "load"

    def __init__(
        self,
        nats: NatsConnection,
        guard: TaskGuard,
        held: HeldJobs,
        waits: BatchWaits,
        *,
        queues: Callable[[], Iterable[str]],
        blocked: Callable[[str], bool],
        host: str,
    ) -> None:
        self._nats = nats
        self._guard = guard
        self._held = held
        self._waits = waits
        self._queues = queues
        self._blocked = blocked
        self._host = host
        self._worker = secrets.token_hex(8)
        self._ended: dict[str, Ended] = {}
        self._telling: asyncio.Task[None] | None = None
        held.on_ended(self._count)
        held.on_drain(self._tell_at_once)

    async def start(self) -> None:
        """Begin to tell."""
        self._telling = self._guard.spawn_eternal(self.name, self._tell_always())

    async def stop(self, deadline: Deadline) -> None:
        """Tells once more, now that the jobs have ended."""
        del deadline
        if self._telling is not None:
            self._telling.cancel()
        await self._tell()

    def of(self, queue: str) -> WorkerLoad:
        """The load of a queue as it stands."""
        ended = self._ended.get(queue) or Ended()
        return WorkerLoad(
            worker=self._worker,
            host=self._host,
            queue=queue,
            slots=self._waits.slots,
            running=sum(self._held.count(queue, job_class) for job_class in JobClass),
            waiting=self._waits.count(queue),
            blocked=self._blocked(queue),
            draining=self._held.draining,
            ended=ended.jobs,
            busy_seconds=ended.busy_seconds,
            output_tokens=ended.output_tokens,
            nano_usd=ended.nano_usd,
            priced=ended.priced,
        )

    def _count(self, queue: str, end: Terminal, seconds: float) -> None:
        ended = self._ended.get(queue)
        if ended is None:
            ended = self._ended[queue] = Ended()
        ended.add(end, seconds)

    def _tell_at_once(self) -> None:
        self._guard.spawn("load-drain", self._tell())

    async def _tell_always(self) -> None:
        while True:
            await self._tell()
            await asyncio.sleep(_EVERY_SECONDS)

    async def _tell(self) -> None:
        # What could not be told now is part of what is told next.
        for queue in self._queues():
            subject = load_subject(queue, self._worker)
            await self._nats.hint(subject, encode_load(self.of(queue)))
