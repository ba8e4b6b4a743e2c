"""A job's work: from the first call to the event that ends it, or to handing it back."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tidegate.contracts import endings
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Completed, Failed, Terminal, Timings
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.spending import LastAttempt
from tidegate.eventlog.writer import LogWriter, OutputTooLongError
from tidegate.providers.errors import ProviderError
from tidegate.providers.ledger import Ledger
from tidegate.providers.prices import PriceBook
from tidegate.worker.answer import Answered
from tidegate.worker.calls import ParkedError
from tidegate.worker.course import Course, CourseParts
from tidegate.worker.held_job import HeldJob, Stop
from tidegate.worker.leader import LeaderFailedError
from tidegate.worker.sources import JobSource, NoRouteError, SourceParts
from tidegate.worker.verdict import model_not_found, stopped_event

# Seconds that a job is put off for while its provider is down: bounded, as that may be back before,
# and spread, so that not all come back at once.
_PARKED_SECONDS: Final = (1.0, 30.0)
_PARKED_SPREAD_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class HandBack:
    """The job has not come to its end here, and goes back to the queue for `delay` seconds.

    `counts` says whether its last attempt has failed, and thus counts against it.
    """

    counts: bool
    delay: float = 0.0


class Attempts:
    """Makes the work on jobs, of which `parts` and `sources` are shared by all."""

    def __init__(self, prices: PriceBook, parts: CourseParts, sources: SourceParts) -> None:
        self._prices = prices
        self._parts = parts
        self._sources = sources

    def knows(self, model: str) -> bool:
        """Whether the model has a route for chats."""
        route = self._sources.routes().get(model)
        return route is not None and route.kind == "chat"

    def ledger(self, job: QueuedJob, before: LastAttempt | None) -> Ledger:
        """What the job has cost by its log, of which `before` is the newest attempt."""
        ledger = Ledger(self._prices, bytes(job.request))
        if before is not None:
            ledger.adopt(before, self._sources.routes().targets)
        return ledger

    @contextmanager
    def work(
        self,
        held: HeldJob,
        job: QueuedJob,
        writer: LogWriter,
        ledger: Ledger,
        *,
        number: int,
        attempts_left: int,
    ) -> Iterator["JobWork"]:
        """The work on a job in this process, in attempts after `number`; what it holds ends here.

        `attempts_left` is how many of them may fail.
        """
        course = Course(self._parts, held, job, writer, ledger, number=number)
        source = JobSource(self._sources, course, held, job, ledger, calls_left=attempts_left)
        try:
            yield JobWork(self._parts, held, job, writer, course=course, source=source)
        finally:
            source.let_go()


class JobWork:
    """One job's work: to the event that is to end it, and beyond."""

    def __init__(
        self,
        parts: CourseParts,
        held: HeldJob,
        job: QueuedJob,
        writer: LogWriter,
        *,
        course: Course,
        source: JobSource,
    ) -> None:
        self._parts = parts
        self._course = course
        self._source = source
        self._held = held
        self._job = job
        self._writer = writer

    async def run(self) -> Terminal | HandBack:
        """Has the job answered; returns its end, or why it has none.

        The end says nothing of what was spent: that is in the ledger.

        Raises:
            FencedError, UnsettledError: the log is not ours; the provider's call is closed.
        """
        try:
            with self._deadline() as deadline:
                work = asyncio.create_task(
                    self._source.answer(deadline), name=f"answer-{self._job.id}"
                )
                await self._until_end(work)
        finally:
            self._course.close()
        end = self._end(work)
        if not isinstance(end, Completed):
            # Before its log says so: who reads that there looks for another to follow.
            self._source.let_go()
        return end

    def sealed(self, end: Terminal) -> None:
        """The log has its end: a whole answer may be worth keeping."""
        self._course.ended(end)
        if isinstance(end, Completed):
            self._source.keep(end)

    @contextmanager
    def _deadline(self) -> Iterator[float]:
        """The job's deadline by the loop's clock, at which it is asked to stop."""
        loop = asyncio.get_running_loop()
        created_ms = self._held.delivery.created_ms
        left = (created_ms + self._job.ttl_ms) / 1000 - self._parts.clock()
        deadline = loop.time() + max(left, 0.0)
        timer = loop.call_at(deadline, self._held.end, Stop.EXPIRED)
        try:
            yield deadline
        finally:
            timer.cancel()

    async def _until_end(self, work: asyncio.Task[Answered]) -> None:
        """Waits for the work, or ends it: for a stop, or a log that was lost."""
        lost = self._writer.lost
        try:
            ends: set[asyncio.Future[Any]] = {work, self._held.stop, lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Closes the provider's connection, whatever the reason, before anything else is done.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await self._course.settle()
        if lost.done():
            lost.result()

    def _end(self, work: asyncio.Task[Answered]) -> Terminal | HandBack:
        error = None if work.cancelled() else work.exception()
        if error is None and not work.cancelled():
            answered = work.result()
            return Completed(
                answered.finish_reasons,
                endings.NOTHING_USED,
                self._timings(),
                saved_nano_usd=answered.saved_nano_usd,
            )
        if self._held.stop.done():
            stopped = stopped_event(self._held.stop.result())
            return HandBack(counts=not self._course.calling) if stopped is None else stopped
        if isinstance(error, ParkedError):
            return HandBack(counts=not self._course.calling, delay=self._delay(error.until))
        if error is None:
            raise asyncio.CancelledError
        return _failed(error)

    def _delay(self, until: float) -> float:
        low, high = _PARKED_SECONDS
        seconds = min(max(until - self._parts.clock(), low), high)
        return seconds + random.uniform(0.0, _PARKED_SPREAD_SECONDS)

    def _timings(self) -> Timings:
        created_ms, ttft = self._held.delivery.created_ms, self._course.ttft
        started_ms = self._course.started_ms or created_ms
        return Timings(
            queued_ms=max(0, round(started_ms) - created_ms),
            ttft_ms=None if ttft is None else round(ttft * 1000),
            total_ms=max(0, round(self._parts.clock() * 1000) - created_ms),
        )


def _failed(error: BaseException) -> Failed:
    """The end by an error that is foreseen; any other is raised."""
    if isinstance(error, NoRouteError):
        return model_not_found()
    if isinstance(error, LeaderFailedError):
        end = error.end
        return Failed(
            end.reason, end.message, retriable=end.retriable, retry_after_ms=end.retry_after_ms
        )
    if isinstance(error, ProviderError):
        after = error.retry_after if error.retriable else None
        return Failed(
            error.reason,
            error.message,
            retriable=error.retriable,
            retry_after_ms=None if after is None else round(after * 1000),
        )
    if isinstance(error, OutputTooLongError):
        return Failed(
            Reason.OUTPUT_TOO_LONG,
            "the answer is too long to be kept; what there is of it is above",
        )
    raise error
