"""A job's work: from the first call to the event that ends it, or to handing it back."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tidegate.contracts import endings
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Completed, Failed, Terminal, Timings
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.spending import LastAttempt
from tidegate.eventlog.writer import LogWriter, OutputTooLongError
from tidegate.providers.calling import BATCH, INTERACTIVE, Caller
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.errors import ProviderError
from tidegate.providers.ledger import Ledger
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes
from tidegate.worker.calls import CallParts, JobCalls, ParkedError
from tidegate.worker.held_job import HeldJob, Stop
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
    """Runs jobs through `caller`; `routes` and `targets` give those of now."""

    def __init__(
        self,
        caller: Caller,
        routes: Callable[[], Routes],
        prices: PriceBook,
        parts: CallParts,
    ) -> None:
        self._caller = caller
        self._routes = routes
        self._prices = prices
        self._parts = parts

    def knows(self, model: str) -> bool:
        """Whether the model has a route for chats."""
        route = self._routes().get(model)
        return route is not None and route.kind == "chat"

    def ledger(self, job: QueuedJob, before: LastAttempt | None) -> Ledger:
        """What the job has cost by its log, of which `before` is the newest attempt."""
        ledger = Ledger(self._prices, bytes(job.request))
        if before is not None:
            ledger.adopt(before, self._routes().targets)
        return ledger

    async def run(
        self,
        held: HeldJob,
        job: QueuedJob,
        writer: LogWriter,
        ledger: Ledger,
        *,
        number: int,
        attempts_left: int,
    ) -> Terminal | HandBack:
        """Calls for the job, in attempts after `number`; returns its end, or why it has none.

        The end says nothing of what was spent: that is in the ledger.

        Raises:
            FencedError, UnsettledError: the log is not ours; the provider's call is closed.
        """
        if not self.knows(job.model):
            # The routes have changed since the job was looked at.
            return model_not_found()
        routes = self._routes()
        calls = JobCalls(
            self._parts,
            held,
            job,
            writer,
            ledger,
            number=number,
            outdated=lambda: self._routes() is not routes,
        )
        try:
            with self._deadline(held, job) as deadline:
                work = asyncio.create_task(
                    self._caller.run(
                        routes.plan(job.model),
                        calls.call,
                        deadline=deadline,
                        patience=BATCH if held.job_class is JobClass.BATCH else INTERACTIVE,
                        attempts_left=attempts_left,
                        on_wait=calls.wait,
                    ),
                    name=f"calls-{job.id}",
                )
                await self._until_end(held, work, writer, calls)
        finally:
            calls.close()
        return self._end(held, work, calls)

    @contextmanager
    def _deadline(self, held: HeldJob, job: QueuedJob) -> Iterator[float]:
        """The job's deadline by the loop's clock, at which it is asked to stop."""
        loop = asyncio.get_running_loop()
        left = (held.delivery.created_ms + job.ttl_ms) / 1000 - self._parts.clock()
        deadline = loop.time() + max(left, 0.0)
        timer = loop.call_at(deadline, held.end, Stop.EXPIRED)
        try:
            yield deadline
        finally:
            timer.cancel()

    async def _until_end(
        self, held: HeldJob, work: asyncio.Task[ChatResult], writer: LogWriter, calls: JobCalls
    ) -> None:
        """Waits for the work, or ends it: for a stop, or a log that was lost."""
        try:
            ends: set[asyncio.Future[Any]] = {work, held.stop, writer.lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Closes the provider's connection, whatever the reason, before anything else is done.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await calls.settle()
        if writer.lost.done():
            writer.lost.result()

    def _end(
        self, held: HeldJob, work: asyncio.Task[ChatResult], calls: JobCalls
    ) -> Terminal | HandBack:
        error = None if work.cancelled() else work.exception()
        if error is None and not work.cancelled():
            reasons = work.result().finish_reasons
            return Completed(reasons, endings.NOTHING_USED, self._timings(held, calls))
        if held.stop.done():
            stopped = stopped_event(held.stop.result())
            return HandBack(counts=not calls.calling) if stopped is None else stopped
        if isinstance(error, ParkedError):
            return HandBack(counts=not calls.calling, delay=self._delay(error.until))
        if error is None:
            raise asyncio.CancelledError
        return _failed(error)

    def _delay(self, until: float) -> float:
        low, high = _PARKED_SECONDS
        seconds = min(max(until - self._parts.clock(), low), high)
        return seconds + random.uniform(0.0, _PARKED_SPREAD_SECONDS)

    def _timings(self, held: HeldJob, calls: JobCalls) -> Timings:
        created_ms, ttft = held.delivery.created_ms, calls.ttft
        started_ms = calls.started_ms or created_ms
        return Timings(
            queued_ms=max(0, round(started_ms) - created_ms),
            ttft_ms=None if ttft is None else round(ttft * 1000),
            total_ms=max(0, round(self._parts.clock() * 1000) - created_ms),
        )


def _failed(error: BaseException) -> Failed:
    """The end by an error that is foreseen; any other is raised."""
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
