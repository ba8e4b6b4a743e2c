"""One job's attempts in this process, one after another: each is in the log before it begins."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tidegate.chassis.tracing import inject
from tidegate.contracts.events import AttemptStarted, CacheMark, CacheTier, Delta, Terminal, Waiting
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.spending import is_free
from tidegate.eventlog.writer import LogWriter
from tidegate.figures.metrics import Figures
from tidegate.providers.ledger import Ledger
from tidegate.providers.routes import Target
from tidegate.worker.answer import AnswerMeter
from tidegate.worker.held_job import HeldJob
from tidegate.worker.metrics import WorkerMetrics

_log = structlog.stdlib.get_logger(module=__name__)


class StoppedError(Exception):
    """The job was asked to stop before its attempt had done anything."""


@dataclass(frozen=True, slots=True)
class CourseParts:
    """`worker` is what attempts say they ran on. `clock` gives seconds of the epoch.

    `monotonic` gives those of any clock that never goes back.
    """

    worker: str
    metrics: WorkerMetrics
    figures: Figures
    clock: Callable[[], float]
    monotonic: Callable[[], float]


class Course:
    """The attempts after `number`. Close it when no more are made.

    `calling` says whether an attempt at a provider has begun and not failed. `meter` is what the
    newest attempt has heard of its answer.
    """

    def __init__(
        self,
        parts: CourseParts,
        held: HeldJob,
        job: QueuedJob,
        writer: LogWriter,
        ledger: Ledger,
        *,
        number: int,
    ) -> None:
        self._parts = parts
        self._held = held
        self._job = job
        self._writer = writer
        self._ledger = ledger
        self._why = "again" if number else "first"
        self._starting: asyncio.Task[None] | None = None
        self._tier: CacheTier = "miss"
        self.number = number
        self.calling = False
        self.started_at: float | None = None
        self.started_ms: float | None = None
        self.meter: AnswerMeter | None = None

    @property
    def ttft(self) -> float | None:
        """Seconds from the start of the newest attempt to its first token."""
        if self.started_at is None or self.meter is None or self.meter.first_at is None:
            return None
        return self.meter.first_at - self.started_at

    async def begin_call(
        self,
        target: Target,
        cache: CacheMark | None,
        *,
        on_first: Callable[[], None],
        heard: Callable[[Delta], None] | None = None,
    ) -> AnswerMeter:
        """Begins an attempt at a target. `heard` gets each delta that the log has taken.

        Raises:
            StoppedError: the job is not to be worked on any more.
            FencedError, UnsettledError: the log is not ours.
        """
        emit = self._writer.emit
        take = emit if heard is None else _both(emit, heard)
        return await self._begin(take, target, cache, on_first)

    async def begin_free(self, cache: CacheMark) -> AnswerMeter:
        """Begins an attempt that calls nobody, and counts against nothing. Raises as above."""
        return await self._begin(self._writer.emit, None, cache, lambda: None)

    def say(self, event: Waiting) -> None:
        """Says in the log that the job waits, once an attempt has begun here.

        Before that, a worker has no say in it. Raises what the log raises.
        """
        if self._held.begun:
            self._writer.emit(event)

    async def caught_up(self) -> None:
        """Returns when all that was heard is stored. Raises what the log raises."""
        await self._writer.caught_up()

    def failed(self, why: str, *, excused: bool) -> None:
        """The attempt at a provider has failed; one that is excused does not count either."""
        self.calling, self._why = False, why
        if excused:
            self._writer.excuse()

    async def settle(self) -> None:
        """Returns when no start of an attempt is under way, for it must not be cut short."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)

    def close(self) -> None:
        """Ends what is under way."""
        if self._starting is not None:
            self._starting.cancel()

    def was_in_cache(self, outcome: str, tier: CacheTier | None = None) -> None:
        """The job is answered, and this is what came of asking the cache; `tier` of a hit."""
        self._parts.figures.looked_up(outcome, tier)

    def ended(self, end: Terminal) -> None:
        """The job has its end, which says what was spent."""
        seconds = self._parts.clock() - self._held.delivery.created_ms / 1000
        self._parts.figures.ended(
            self._job.model, self._tier, self._held.job_class, end, max(seconds, 0.0)
        )

    def _is_first(self, on_first: Callable[[], None]) -> None:
        on_first()
        if (ttft := self.ttft) is not None:
            self._parts.figures.first_token(self._job.model, self._tier, self._held.job_class, ttft)

    async def _begin(
        self,
        take: Callable[[Delta], None],
        target: Target | None,
        cache: CacheMark | None,
        on_first: Callable[[], None],
    ) -> AnswerMeter:
        meter = AnswerMeter(take, self._parts.monotonic, on_first=lambda: self._is_first(on_first))
        self._ledger.begin(target)
        self.number += 1
        self.meter = None
        self._tier = "miss" if cache is None else cache.tier
        self.started_at, self.started_ms = self._parts.monotonic(), self._parts.clock() * 1000
        event = self._event(target, cache)
        self._starting = asyncio.create_task(self._start(event), name=f"start-{self._job.id}")
        await asyncio.shield(self._starting)
        _log.info(
            "attempt",
            attempt=self.number,
            model=self._job.model,
            provider=event.provider,
            cache=None if cache is None else cache.tier,
        )
        if self._held.stop.done():
            # A call whose answer nobody may wait for any more would still be paid for.
            raise StoppedError
        self.meter = meter
        return meter

    def _event(self, target: Target | None, cache: CacheMark | None) -> AttemptStarted:
        lost = self._ledger.lost
        return AttemptStarted(
            self.number,
            # Two attempts never write equal bytes, or one would take the other's for its own.
            worker=f"{self._parts.worker}-{secrets.token_hex(4)}",
            provider="" if target is None else target.provider,
            model="" if target is None else target.model,
            traceparent=trace_headers().get("traceparent", ""),
            lost=lost.usage,
            lost_cost_nano_usd=lost.cost,
            cache=cache,
        )

    async def _start(self, event: AttemptStarted) -> None:
        free = is_free(event)
        self._held.begin(event.worker)
        await self._writer.start_attempt(event, counts=not free)
        self._held.has_begun(event.attempt)
        self.calling = not free
        why = event.cache.tier if free and event.cache is not None else self._why
        self._parts.metrics.attempts.labels(why).inc()


def _both(one: Callable[[Delta], None], other: Callable[[Delta], None]) -> Callable[[Delta], None]:
    def take(delta: Delta) -> None:
        one(delta)
        other(delta)

    return take


def trace_headers() -> dict[str, str]:
    """The current trace, as headers."""
    headers: dict[str, str] = {}
    inject(headers)
    return headers
