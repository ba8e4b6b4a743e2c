"""Following another job's log: its answer becomes this job's, while it is being made.

A follower reads what is stored of its leader's log, as any client does, and appends it to its own.
It looks at the lease only when there is a reason to: when its leader has ended without an answer,
was handed back, waits for too long, or says nothing for a while. A leader whose log moves is alive,
whatever became of its lease.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.contracts.errors import TidegateError
from tidegate.contracts.events import CacheMark, Completed, CorruptLogError, Terminal, Waiting
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.head import read_head
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.tail import Tail
from tidegate.worker.answer import Answered, AnswerMeter
from tidegate.worker.course import Course
from tidegate.worker.flights import Flight, Flights
from tidegate.worker.leader import Leaders, News, answer_of, news_of
from tidegate.worker.lease import Free, Lease, Standing
from tidegate.worker.metrics import WorkerCacheMetrics

_log = structlog.stdlib.get_logger(module=__name__)

# Events of a leader that are taken over together; then others have their turn.
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Turn:
    """It is the job's own turn to call the model: with the flight, or beside whoever leads."""

    flight: Flight | None


# What following comes to: an answer, a call of one's own, or a flight that has just landed, so that
# its answer may be in the cache.
Followed = Answered | Turn | Free


@dataclass(frozen=True, slots=True)
class FollowParts:
    """What following is done with. `clock` gives seconds of the epoch."""

    reader: LogReader
    jetstream: JetStream
    flights: Flights
    metrics: WorkerCacheMetrics
    clock: Callable[[], float]


class Follower:
    """Follows whoever leads the request `key`, for one job."""

    _lease: Lease
    _meter: AnswerMeter

    def __init__(
        self, parts: FollowParts, course: Course, job: QueuedJob, key: str, leaders: Leaders
    ) -> None:
        self._parts = parts
        self._course = course
        self._job = job
        self._key = key
        self._leaders = leaders
        self._clock = asyncio.get_running_loop().time

    async def follow(self, lease: Lease) -> Followed:
        """Follows until there is an answer, or none to be had from others.

        Raises:
            LeaderFailedError: nobody will have one.
            StoppedError, FencedError, UnsettledError, OutputTooLongError: as `Course.begin_free`
                and the log's writer do.
        """
        step: Followed | Lease = lease
        while isinstance(step, Lease):
            self._parts.metrics.flights.labels("followed").inc()
            _log.info("following", leader=step.job)
            self._lease = step
            await self._begin()
            step = await self._follow_one()
        return step

    async def _begin(self) -> None:
        mark = CacheMark("coalesced", source=self._lease.job)
        self._meter = await self._course.begin_free(mark)

    async def _follow_one(self) -> Followed | Lease:
        wake = asyncio.Event()
        reader = self._parts.reader
        try:
            tail = await reader.follow(self._job.tenant, self._lease.job, wake.set)
            try:
                return await self._read(tail, wake)
            finally:
                reader.leave(tail, wake.set)
        except (TidegateError, CorruptLogError) as error:
            _log.info("a leader cannot be followed", why=type(error).__name__)
        return await self._turn(void=self._lease.owner)

    async def _read(self, tail: Tail, wake: asyncio.Event) -> Followed | Lease:
        """Takes over what the log says, from its beginning.

        Raises:
            TidegateError, CorruptLogError: it cannot be read to its end.
        """
        position, heard_at = 0, self._clock()
        while True:
            wake.clear()
            if batch := tail.entries[position : position + _AT_ONCE]:
                position += len(batch)
                step = await self._take(news_of(batch))
                heard_at = self._clock()
            else:
                self._parts.reader.check(tail)
                step = None
                if not await self._is_woken(wake, heard_at + self._parts.flights.policy.look):
                    step = await self._look(tail)
                    heard_at = self._clock()
            if step is not None:
                return step

    async def _is_woken(self, wake: asyncio.Event, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                await wake.wait()
        except TimeoutError:
            return False
        return True

    async def _take(self, news: News) -> Followed | Lease | None:
        """None: on with it."""
        self._leaders.moved(self._parts.clock())
        if news.restarted and self._meter.first_at is not None:
            await self._begin()
        for delta in news.deltas:
            self._meter.take(delta)
        if news.deltas:
            await self._course.caught_up()
        if news.end is not None:
            return await self._end(news.end)
        if news.handed_back:
            return self._other(await self._turn(void=self._lease.owner))
        return None if news.waiting is None else await self._wait(news.waiting)

    async def _end(self, end: Terminal) -> Followed | Lease:
        if isinstance(end, Completed):
            return answer_of(end)
        self._leaders.ended(end)
        return await self._turn(void=self._lease.owner)

    async def _wait(self, waiting: Waiting) -> Followed | Lease | None:
        """Waits with the leader, or goes ahead where that takes too long."""
        if self._leaders.may_wait(self._parts.clock(), waiting.until_ms / 1000):
            self._course.say(waiting)
            return None
        return self._other(await self._turn())

    async def _look(self, tail: Tail) -> Followed | Lease | None:
        """After a silence. A log that has moved all the same is read on, and so is a leader's."""
        found = await self._parts.flights.look(self._job.tenant, self._key, self._job.id)
        if isinstance(found, Lease) and self._other(found) is None:
            return None
        if not isinstance(found, Free | Lease) or await self._has_moved(tail):
            return None
        return found if isinstance(found, Lease) else self._other(await self._turn())

    def _other(self, step: Followed | Lease) -> Followed | Lease | None:
        """The step, unless it leads to the leader that is followed already, in a new attempt."""
        if isinstance(step, Lease) and step.job == self._lease.job:
            self._lease = step
            return None
        return step

    async def _has_moved(self, tail: Tail) -> bool:
        """Whether more of the log is stored than was heard, or may be: a copy can be lost."""
        try:
            head = await read_head(self._parts.jetstream, self._job.tenant, self._lease.job)
        except JetStreamError:
            return True
        return head.stream_sequence != tail.stream_sequence

    async def _turn(self, *, void: str = "") -> Turn | Lease | Free:
        """Who is to call the model now, where it is not the leader, or not soon enough.

        `void` is the owner of a lease that counts no more.
        """
        flights, job = self._parts.flights, self._job
        found: Flight | Standing | None
        found = await flights.look(job.tenant, self._key, job.id, void=void)
        if isinstance(found, Free) and not found.landed:
            found = await flights.acquire(
                job.tenant, self._key, job.id, fence=found.fence, void=void
            )
        if isinstance(found, Flight):
            self._parts.metrics.flights.labels("inherited").inc()
            return Turn(found)
        if isinstance(found, Free) or (
            isinstance(found, Lease) and found.owner != self._lease.owner
        ):
            return found
        self._parts.metrics.flights.labels("alone").inc()
        return Turn(None)
