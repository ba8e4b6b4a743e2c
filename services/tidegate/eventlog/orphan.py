"""Ending a job that has no owner to end it: reap, and the cancel of a queued job.

Fenced like any writer: on the head that it read. An attempt that began meanwhile wins, and this
one is told so by FencedError; an attempt that loses falls silent.
"""

from collections.abc import Callable
from typing import Final

from tidegate.chassis.jetstream import JetStream, NoAnswerError, RefusedError
from tidegate.contracts.events import Terminal
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.seal import encode_tombstone
from tidegate.contracts.spending import LastAttempt
from tidegate.contracts.subjects import JOBS_STREAM, log_subject
from tidegate.eventlog.appender import Appender
from tidegate.eventlog.dead_letters import dead_letter_of, write_dead_letter
from tidegate.eventlog.lookup import FoundJob
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.writer import LogLimits, LogWriter

# Says in a terminal event what a job has spent, by the newest attempt in its log.
Bill = Callable[[QueuedJob, LastAttempt, Terminal], Terminal]

_BURY_SECONDS: Final = 10.0
# What JetStream says of the deletion of a message that is no more.
ALREADY_GONE: Final = frozenset({10057, 10037, 10043})


async def reap(
    jetstream: JetStream,
    found: FoundJob,
    event: Terminal,
    *,
    limits: LogLimits,
    metrics: EventLogMetrics,
    clock: Callable[[], float],
    bill: Bill | None = None,
) -> None:
    """Seals an unsealed job's log with `event`, then takes its message from the queue.

    `bill`: None where nothing can have been spent. A log that is sealed already may be that of a
    failed job whose worker died before it wrote the dead letter, which is then written here.

    Raises:
        FencedError: the log has moved on; look again.
        UnsettledError, NoAnswerError: not known; look again.
    """
    if found.queued is None:
        return
    if not found.head.sealed:
        writer = LogWriter(
            jetstream,
            found.queued,
            found.summary.created_ms,
            found.head,
            limits=limits,
            metrics=metrics,
            clock=clock,
        )
        await writer.load()
        if bill is not None and writer.before is not None:
            event = bill(found.queued, writer.before, event)
        try:
            await writer.seal(event)
        finally:
            await writer.abandon()
    elif letter := dead_letter_of(found.queued, found.summary.created_ms, found.head):
        await write_dead_letter(jetstream, letter)
    await take_from_queue(jetstream, found.queue_sequence)


async def bury(
    jetstream: JetStream,
    found: FoundJob,
    *,
    limits: LogLimits,
    metrics: EventLogMetrics,
    clock: Callable[[], float],
) -> None:
    """Replaces a sealed log by a tombstone, which keeps the id for as long as a result is kept.

    Raises:
        ValueError: the log is not sealed.
        FencedError: the log has changed; look again.
        UnsettledError: not known; it is harmless to repeat.
    """
    if found.head.line is None or not found.head.sealed:
        raise ValueError("only a sealed log can be buried")
    appender = Appender(
        jetstream,
        log_subject(found.tenant, found.summary.id),
        found.head.stream_sequence,
        metrics=metrics,
        clock=clock,
        give_up_at=clock() + _BURY_SECONDS,
    )
    await appender.append(
        encode_tombstone(found.head.line), seal_ttl_seconds=limits.result_ttl_seconds
    )


async def take_from_queue(jetstream: JetStream, queue_sequence: int) -> None:
    """Deletes a job's message; only after its terminal event is stored.

    Raises:
        NoAnswerError: not known; it is harmless to repeat.
    """
    body = {"seq": queue_sequence, "no_erase": True}
    try:
        await jetstream.api(f"STREAM.MSG.DELETE.{JOBS_STREAM}", body)
    except RefusedError as error:
        # Gone already: the attempt's owner acknowledged it.
        if error.code not in ALREADY_GONE:
            raise NoAnswerError(str(error)) from error
