"""One job's calls to providers: each is an attempt, which is in the log before the call is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from opentelemetry.trace import SpanKind

from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage, Waiting
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.no_store import without_member
from tidegate.providers.breakers import Permit
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.clients import Clients
from tidegate.providers.errors import ProviderError
from tidegate.providers.ledger import NOTHING, Ledger
from tidegate.providers.routes import Target
from tidegate.worker.answer import AnswerMeter
from tidegate.worker.course import Course, trace_headers
from tidegate.worker.held_job import HeldJob
from tidegate.worker.lead import Lead
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.waits import BatchWaits

_log = structlog.stdlib.get_logger(module=__name__)

# A batch job that waits for no longer keeps its slot, and its lead of others who ask the same.
_SHORT_SECONDS: Final = 2.0


class ParkedError(Exception):
    """A batch job is to wait in the queue until this time (epoch seconds), and not in its slot."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class UnledError(Exception):
    """Before a call was made: the job leads no more those who ask the same. Ask anew who does."""


@dataclass(frozen=True, slots=True)
class CallParts:
    """What calls are made with. `clock` gives seconds of the epoch."""

    clients: Clients
    waits: BatchWaits
    tracing: Tracing
    metrics: WorkerMetrics
    clock: Callable[[], float]


class JobCalls:
    """The calls of one job in this process, one after another; close it when no more are made.

    `outdated` says whether the routes have changed since the targets were chosen. `left` is how
    many more calls may fail.
    """

    def __init__(
        self,
        parts: CallParts,
        course: Course,
        held: HeldJob,
        job: QueuedJob,
        ledger: Ledger,
        *,
        lead: Lead,
        left: int,
        outdated: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._course = course
        self._held = held
        self._job = job
        self._ledger = ledger
        self._lead = lead
        self._outdated = outdated
        self._waits = False
        self.left = left

    async def call(self, target: Target, permit: Permit) -> ChatResult:
        """One attempt at a target.

        Raises:
            ProviderError: it failed.
            UnledError: another job may be calling for the same by now.
            StoppedError, FencedError, UnsettledError, OutputTooLongError: as `Course.begin_call`
                and the log's writer do.
        """
        self._leave()
        if not self._leads():
            raise UnledError
        meter = await self._course.begin_call(
            target,
            self._lead.mark,
            on_first=permit.answering,
            heard=self._lead.begin(target),
        )
        if not self._leads():
            # The append may have taken longer than the lease lasts.
            self._course.failed("again", excused=True)
            raise UnledError
        try:
            result = await self._stream(target, meter)
        except ProviderError as error:
            self._failed(target, meter, permit, error)
            raise
        except BaseException:
            self._book(target, None, meter)
            raise
        self._book(target, result.usage, meter)
        return result

    async def wait(self, reason: Reason, until: float) -> None:
        """Says in the log that the job waits, until a time in epoch seconds.

        Raises:
            ParkedError: too many batch jobs wait already, or this one for targets of old routes.
            FencedError, UnsettledError, OutputTooLongError: what the log raises.
        """
        held = self._held
        long = until - self._parts.clock() > _SHORT_SECONDS
        if held.job_class is JobClass.BATCH and long:
            # It may wait for hours; among those who follow it, somebody may have less time.
            self._lead.give_up()
            # Where the routes have changed, what is waited for here may never come back.
            if self._outdated() or not (self._waits or self._parts.waits.enter(held.queue)):
                raise ParkedError(until)
            self._waits = True
        self._course.say(Waiting(reason, int(until * 1000)))

    def close(self) -> None:
        """Waits for nothing any more."""
        self._leave()

    def _leads(self) -> bool:
        return self._lead.stands

    def _leave(self) -> None:
        if self._waits:
            self._waits = False
            self._parts.waits.leave(self._held.queue)

    async def _stream(self, target: Target, meter: AnswerMeter) -> ChatResult:
        with self._parts.tracing.span("provider call", kind=SpanKind.CLIENT) as span:
            span.set_attribute("gen_ai.request.model", target.model)
            span.set_attribute("tidegate.provider", target.provider)
            headers = {
                **trace_headers(),
                "x-tidegate-job": self._job.id,
                "x-request-id": f"{self._job.id}-{self._course.number}",
            }
            client = self._parts.clients.chat(target)
            return await client.stream(
                target, without_member(bytes(self._job.request)), meter.take, headers=headers
            )

    def _failed(
        self, target: Target, meter: AnswerMeter, permit: Permit, error: ProviderError
    ) -> None:
        # Who was turned away pays nothing, a connection's time-out included.
        why = Reason.PROVIDER_UNAVAILABLE if error.turned_away else error.reason
        self._book(target, error.usage, meter, why)
        error.counts = not self._is_excused(permit, error)
        self.left -= error.counts
        self._course.failed(str(error.reason), excused=not error.counts)
        _log.warning(
            "provider failed",
            attempt=self._course.number,
            provider=target.provider,
            reason=error.reason,
            why=error.message,
            base_url=target.base_url,
        )

    def _is_excused(self, permit: Permit, error: ProviderError) -> bool:
        """A batch job waits an outage out: what turns it away there uses up no attempts.

        Nor do its probes, which are the fleet's. Calls that may have cost something do: a job that
        is at fault itself must have an end.
        """
        batch = self._held.job_class is JobClass.BATCH
        free = self._ledger.usage == NOTHING and error.retriable
        return batch and free and (error.turned_away or permit.probing)

    def _book(
        self, target: Target, told: Usage | None, meter: AnswerMeter, failed: str = ""
    ) -> None:
        self._ledger.book(target, told, meter.count, failed)
        self._parts.metrics.bills.used(self._ledger.usage)
