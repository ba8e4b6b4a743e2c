"""Dead letters: written after a failed job's seal and before its message leaves the queue.

Whoever finds a sealed log whose message is still queued writes the letter again, for the one who
sealed may have died between the two. Each job has one subject that keeps one message, so writing it
twice is the same as writing it once.
"""

from typing import Final

import structlog

from tidegate.chassis.jetstream import (
    JetStream,
    NoAnswerError,
    RefusedError,
    TooLargeError,
)
from tidegate.contracts.dead_letter import DeadLetter, encode_dead_letter
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Append, CorruptLogError, Event, Failed, decode_event
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.subjects import dead_letter_subject
from tidegate.eventlog.head import LogHead

_log = structlog.stdlib.get_logger(module=__name__)

# A repeat of such a job would end the same way, wherever it is sent.
_NOT_KEPT: Final = frozenset(
    {
        Reason.PROVIDER_REFUSED,
        Reason.CONTENT_FILTERED,
        Reason.CONTEXT_TOO_LONG,
        Reason.OUTPUT_TOO_LONG,
        Reason.JOB_UNREADABLE,
    }
)


def dead_letter(
    job: QueuedJob, created_ms: int, event: Event | None, *, attempts: int, failed_ms: int
) -> DeadLetter | None:
    """The letter of a job that ended with `event`; None where that leaves none."""
    if not isinstance(event, Failed) or event.reason in _NOT_KEPT:
        return None
    return DeadLetter(
        job=job,
        reason=event.reason,
        message=event.message,
        retriable=event.retriable,
        attempts=attempts,
        created_ms=created_ms,
        failed_ms=failed_ms,
    )


def dead_letter_of(job: QueuedJob, created_ms: int, head: LogHead) -> DeadLetter | None:
    """The letter of a queued job whose log is sealed; None where it leaves none.

    `created_ms` is JetStream's time of storing the message: a log that was sealed for an earlier
    job of the same id says nothing about this one.
    """
    line = head.line
    if not head.sealed or line is None or line.job is None or line.job.created_ms != created_ms:
        return None
    return dead_letter(job, created_ms, _end_of(line), attempts=line.attempt, failed_ms=line.at_ms)


def _end_of(line: Append) -> Event | None:
    try:
        return decode_event(line.events[-1]) if line.events else None
    except CorruptLogError:
        return None


async def write_dead_letter(jetstream: JetStream, letter: DeadLetter) -> None:
    """Stores the letter, over one that the job may have already.

    One that JetStream will never take is said to be lost, for the job's end is in its log.

    Raises:
        NoAnswerError: not known; it is harmless to repeat.
    """
    job = letter.job
    subject = dead_letter_subject(job.queue, job.tenant, job.id)
    try:
        await jetstream.publish(subject, encode_dead_letter(letter), {})
    except (RefusedError, TooLargeError) as error:
        if isinstance(error, RefusedError) and error.passes:
            raise NoAnswerError(str(error)) from error
        _log.error("a dead letter is lost", job=job.id, why=str(error))
