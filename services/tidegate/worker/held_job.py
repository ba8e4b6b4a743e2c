"""A job that this process works on, and what it knows of its own hold on it."""

import asyncio
from enum import Enum, auto

from tidegate.contracts.events import Terminal
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.subjects import tenant_and_job
from tidegate.worker.delivery import Delivery


class Stop(Enum):
    """Why an attempt is to end early: with a terminal event, or, drained, without one."""

    CANCELLED = auto()
    EXPIRED = auto()
    DRAINED = auto()


class HeldJob:
    """A job that is worked on.

    `delivery` is the newest; it alone is spoken about. `stop` says why to end early. `attempts` are
    those in the log when it was last read, and once ours has begun, the number of ours; None before
    the first look. `mark` names our attempt in the log, from when it is sent; `begun` says that it
    is stored. With `sealing`, a seal that is found may be ours; `parked` says that it was handed
    back already, for later. `ended` is the end that an attempt of ours came to, once that is
    stored; `since` is from when it is held, by the loop's clock.
    """

    def __init__(self, delivery: Delivery, queue: str, job_class: JobClass) -> None:
        self.delivery = delivery
        self.queue = queue
        self.job_class = job_class
        self.tenant, self.job_id = tenant_and_job(delivery.subject)
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        self.stop: asyncio.Future[Stop] = loop.create_future()
        self.attempts: int | None = None
        self.mark: str | None = None
        self.begun = False
        self.sealing = False
        self.parked = False
        self.ended: Terminal | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def working(self) -> bool:
        """Whether there is work on it that goes on."""
        return self.task is not None and not self.task.done() and not self.task.cancelling()

    def end(self, why: Stop) -> None:
        """Asks for the end; the first reason counts."""
        if not self.stop.done():
            self.stop.set_result(why)

    def look(self, attempts: int) -> None:
        """The log was read and holds so many attempts, none of them ours."""
        self.attempts, self.mark, self.begun, self.sealing = attempts, None, False, False

    def begin(self, mark: str) -> None:
        """Our attempt is being sent."""
        self.mark = mark

    def has_begun(self, number: int) -> None:
        """Our attempt is stored."""
        self.attempts, self.begun = number, True

    def has_ended(self, end: Terminal) -> None:
        """Its log is sealed by us with this end, which is an attempt's if there was one."""
        if self.begun:
            self.ended = end

    async def abandon(self) -> None:
        """Ends the work without a word, and returns when it has ended."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})
