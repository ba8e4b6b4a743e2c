"""Whose a held job is: the one question before anything is said or kept up about it."""

from enum import Enum, auto

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.events import AttemptStarted, CorruptLogError, decode_event
from tidegate.eventlog.head import LogHead, read_head
from tidegate.worker.held_job import HeldJob


class Ownership(Enum):
    """Of a job's log: ours, ended (by whomever), or another's."""

    MINE = auto()
    SEALED = auto()
    OTHERS = auto()


async def ownership(jetstream: JetStream, held: HeldJob) -> Ownership:
    """Whose the job is, by one read from the leader.

    Raises:
        NoAnswerError, RefusedError: JetStream does not answer.
    """
    try:
        head = await read_head(jetstream, held.tenant, held.job_id)
        return owner_of(held, head)
    except CorruptLogError:
        # What this release cannot read, a newer one has written.
        return Ownership.OTHERS


def owner_of(held: HeldJob, head: LogHead) -> Ownership:
    """Whose the job is, by the head of its log. Raises CorruptLogError."""
    if head.sealed:
        return Ownership.SEALED
    if held.attempts is None:
        # Nothing was read yet, so there is nothing to claim.
        return Ownership.OTHERS
    if head.attempts <= held.attempts or _begun_by(head) == held.mark:
        return Ownership.MINE
    return Ownership.OTHERS


def _begun_by(head: LogHead) -> str:
    """The worker whose attempt the log's last message begins, or nothing."""
    event = decode_event(head.line.events[0]) if head.line and head.line.events else None
    return event.worker if isinstance(event, AttemptStarted) else ""
