"""One delivered job, from the first look at it to the acknowledgement of its message."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from opentelemetry.trace import SpanKind

from tidegate.chassis.jetstream import JetStream, JetStreamError, NoAnswerError
from tidegate.chassis.logs import log_context
from tidegate.chassis.tracing import Tracing, extract
from tidegate.contracts.dead_letter import DeadLetter
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import UNDECODABLE, Completed, CorruptLogError, Terminal
from tidegate.contracts.jobs import JOB_VERSION, QueuedJob, decode_job
from tidegate.contracts.queue_consumers import ACK_WAIT_SECONDS
from tidegate.eventlog.appender import FencedError, UnsettledError
from tidegate.eventlog.dead_letters import dead_letter, dead_letter_of, write_dead_letter
from tidegate.eventlog.head import LogHead, read_head
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.writer import LogLimits, LogWriter
from tidegate.providers.ledger import Ledger
from tidegate.worker.attempt import Attempts, HandBack, JobWork
from tidegate.worker.cancels import is_cancelled
from tidegate.worker.delivery import BACKOFF, Deliveries
from tidegate.worker.held_job import HeldJob
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.ownership import Ownership, ownership
from tidegate.worker.verdict import Step, Verdict, judge, stopped_event

_log = structlog.stdlib.get_logger(module=__name__)

# A letter that cannot be written for so long is left to whoever the job is delivered to next.
_LETTER_SECONDS: Final = 2.0 * ACK_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is to be done, and the log to do it in (None where there is nothing to write).

    `ledger` is what the log says that was spent.
    """

    verdict: Verdict
    head: LogHead
    writer: LogWriter | None
    ledger: Ledger


class JobHandler:
    """Handles deliveries. `clock` gives seconds since the epoch, `limits` those of the server."""

    def __init__(
        self,
        jetstream: JetStream,
        deliveries: Deliveries,
        attempts: Attempts,
        tracing: Tracing,
        *,
        max_attempts: int,
        limits: Callable[[], LogLimits],
        metrics: WorkerMetrics,
        log_metrics: EventLogMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._jetstream = jetstream
        self._deliveries = deliveries
        self._attempts = attempts
        self._tracing = tracing
        self._max_attempts = max_attempts
        self._limits = limits
        self._metrics = metrics
        self._log_metrics = log_metrics
        self._clock = clock

    async def handle(self, held: HeldJob) -> None:
        """Does with a delivery what is to be done. Cancelling falls silent at any point."""
        with log_context(job=held.job_id):
            outcome = await self._handle(held)
            self._metrics.jobs.labels(outcome, held.job_class).inc()

    async def _handle(self, held: HeldJob) -> str:
        readable = True
        try:
            job = decode_job(held.delivery.payload)
        except CorruptLogError:
            _log.error("a job that cannot be read", reason=Reason.JOB_UNREADABLE)
            if _is_newer(held.delivery.payload):
                # Left to its release: it is delivered again when its time has run out.
                return "unreadable"
            job, readable = _stand_in(held), False
        parent = extract({"traceparent": job.traceparent})
        with self._tracing.span("job", parent=parent, kind=SpanKind.CONSUMER) as span:
            span.set_attribute("tidegate.job", job.id)
            span.set_attribute("tidegate.queue", job.queue)
            outcome = await self._work(held, job, readable)
            span.set_attribute("tidegate.outcome", outcome)
        return outcome

    async def _work(self, held: HeldJob, job: QueuedJob, readable: bool) -> str:
        """Ends the job, or says nothing about it: then it is delivered again in its time."""
        try:
            try:
                return await self._try(held, job, readable)
            except FencedError:
                if held.begun or not await self._is_mine(held):
                    raise
            # An attempt that was handed back had one more append under way when we looked.
            return await self._try(held, job, readable)
        except CorruptLogError as error:
            _log.error("a log that cannot be read", exc_info=error)
            return "unreadable"
        except (FencedError, UnsettledError) as error:
            _log.info("lost", why=type(error).__name__, attempt=held.attempts)
            return "lost"

    async def _is_mine(self, held: HeldJob) -> bool:
        try:
            return await ownership(self._jetstream, held) is Ownership.MINE
        except JetStreamError:
            return False

    async def _try(self, held: HeldJob, job: QueuedJob, readable: bool) -> str:
        opened = await self._open(held, job, readable)
        if opened.writer is None:
            letter = dead_letter_of(job, held.delivery.created_ms, opened.head)
            await self._leave_queue(held, letter if readable else None)
            return "ended"
        try:
            end = await self._end(held, job, opened, opened.writer)
        finally:
            await opened.writer.abandon()
        if isinstance(end, HandBack):
            return await self._return(held, end)
        letter = dead_letter(
            job,
            held.delivery.created_ms,
            end,
            attempts=held.attempts or 0,
            failed_ms=int(self._clock() * 1000),
        )
        await self._leave_queue(held, letter)
        return self._tell(held, end)

    async def _end(
        self, held: HeldJob, job: QueuedJob, opened: _Opened, writer: LogWriter
    ) -> Terminal | HandBack:
        """Writes the log to its end, or to where the job is handed back."""
        with self._attempts.work(
            held,
            job,
            writer,
            opened.ledger,
            number=opened.head.attempts,
            attempts_left=self._max_attempts - opened.head.lost_attempts,
        ) as work:
            end = await self._outcome(held, opened.verdict, work)
            if not isinstance(end, HandBack):
                held.sealing = True
                end = msgspec.structs.replace(end, **opened.ledger.bill())
                await writer.seal(end)
                held.has_ended(end)
                self._metrics.bills.billed(opened.ledger.called, end)
                work.sealed(end)
            elif held.begun:
                await writer.hand_back(counts=end.counts)
        return end

    async def _outcome(self, held: HeldJob, verdict: Verdict, work: JobWork) -> Terminal | HandBack:
        if not isinstance(verdict, Step):
            return verdict
        if held.stop.done():
            return stopped_event(held.stop.result()) or HandBack(counts=True)
        return await work.run()

    async def _return(self, held: HeldJob, end: HandBack) -> str:
        """Puts a job off. One of a drain is handed back with all others that are left."""
        if end.delay <= 0:
            return "handed_back"
        if held.begun or await self._is_mine(held):
            held.parked = True
            await self._deliveries.hand_back(held.delivery, delay=end.delay)
        return "parked"

    async def _leave_queue(self, held: HeldJob, letter: DeadLetter | None) -> None:
        """Takes the job from the queue, once its dead letter is kept if it is to have one."""
        if letter is not None and not await self._keep(letter):
            # It is delivered again, and whoever finds its log sealed tries once more.
            _log.warning("a dead letter could not be written yet")
        elif not await self._deliveries.ack(lambda: held.delivery):
            _log.warning("the end of a job was not acknowledged")

    async def _keep(self, letter: DeadLetter) -> bool:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + _LETTER_SECONDS
        tries = 0
        while clock() < give_up_at:
            try:
                await write_dead_letter(self._jetstream, letter)
            except NoAnswerError:
                await BACKOFF.pause(tries)
                tries += 1
            else:
                self._metrics.dead_letters.inc()
                return True
        return False

    async def _open(self, held: HeldJob, job: QueuedJob, readable: bool) -> _Opened:
        """Looks at the job for as long as JetStream takes to answer."""
        tries = 0
        while True:
            try:
                return await self._look(held, job, readable)
            except JetStreamError:
                await BACKOFF.pause(tries)
                tries += 1

    async def _look(self, held: HeldJob, job: QueuedJob, readable: bool) -> _Opened:
        created_ms = held.delivery.created_ms
        cancelled, head = await asyncio.gather(
            is_cancelled(self._jetstream, job.tenant, job.id, created_ms),
            read_head(self._jetstream, job.tenant, job.id),
        )
        held.look(head.attempts)
        verdict = judge(
            head,
            cancelled=cancelled,
            now_ms=self._clock() * 1000,
            deadline_ms=created_ms + job.ttl_ms,
            routed=self._attempts.knows(job.model),
            max_attempts=self._max_attempts,
            readable=readable,
        )
        if verdict is Step.ACK:
            return _Opened(verdict, head, None, self._attempts.ledger(job, None))
        writer = LogWriter(
            self._jetstream,
            job,
            created_ms,
            head,
            limits=self._limits(),
            metrics=self._log_metrics,
            clock=self._clock,
        )
        try:
            await writer.load()
        except BaseException:
            await writer.abandon()
            raise
        return _Opened(verdict, head, writer, self._attempts.ledger(job, writer.before))

    def _tell(self, held: HeldJob, terminal: Terminal) -> str:
        outcome = str(terminal.__struct_config__.tag)
        seconds = round(self._clock() - held.delivery.created_ms / 1000, 3)
        if isinstance(terminal, Completed):
            _log.info(outcome, attempt=held.attempts, seconds=seconds)
        else:
            _log.info(outcome, attempt=held.attempts, seconds=seconds, reason=terminal.reason)
        return outcome


def _stand_in(held: HeldJob) -> QueuedJob:
    """What is known of a job that cannot be read: enough for its log to say so."""
    return QueuedJob(
        id=held.job_id,
        tenant=held.tenant,
        key_id="",
        queue=held.queue,
        job_class=held.job_class,
        ttl_ms=0,
        model="",
        request_hash="",
        request=msgspec.Raw(b"null"),
    )


class _Version(msgspec.Struct):
    v: int = 0


def _is_newer(payload: bytes) -> bool:
    """Whether a job was written by a newer release, which can read it."""
    try:
        return msgspec.json.decode(payload, type=_Version).v > JOB_VERSION
    except UNDECODABLE:
        return False
