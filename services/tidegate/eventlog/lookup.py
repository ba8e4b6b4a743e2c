"""Looking a job up, the way it flows: JOBS, then EVENTS, twice before it is not found.

A job moves from the queue to its sealed log and never back, so a look in that order can miss it
only while it moves; the second look cannot. All reads are from the leader.
"""

from dataclasses import dataclass

from tidegate.chassis.jetstream import JetStream, NoAnswerError, Stored
from tidegate.contracts.errors import NotFound, Unavailable
from tidegate.contracts.events import Append, JobSummary
from tidegate.contracts.fold import fold
from tidegate.contracts.jobs import JobView, QueuedJob, decode_job, view
from tidegate.contracts.subjects import JOBS_STREAM, is_job_id, job_anywhere
from tidegate.eventlog.head import LogHead, read_head, read_lines


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job and its log's head. `queued` is None once its message is gone from the queue."""

    tenant: str
    summary: JobSummary
    head: LogHead
    queued: QueuedJob | None = None
    queue_sequence: int = 0


async def find_job(jetstream: JetStream, tenant: str, job_id: str) -> FoundJob | None:
    """The job, or None if this tenant has none by that id (or had, and its result is gone).

    A deleted job is found too, with its tombstone as head.

    Raises:
        NoAnswerError: JetStream does not answer.
        CorruptLogError: what is stored is not ours.
    """
    if not is_job_id(job_id):
        return None
    for _ in range(2):
        stored = await jetstream.last(JOBS_STREAM, job_anywhere(tenant, job_id))
        head = await read_head(jetstream, tenant, job_id)
        if stored is not None:
            return found_in_queue(stored, head)
        if head.line is not None and head.line.job is not None:
            return FoundJob(tenant, head.line.job, head)
    return None


def found_in_queue(stored: Stored, head: LogHead) -> FoundJob:
    """A job whose message still is in the queue.

    Raises:
        CorruptLogError: the message is not a job.
    """
    job = decode_job(stored.payload)
    summary = job.summary(stored.time_ms)
    if head.line is not None and head.line.job is not None:
        # The message may be a later one of the same request id, which will never be run.
        summary = head.line.job
    return FoundJob(job.tenant, summary, head, job, stored.sequence)


async def require_job(jetstream: JetStream, tenant: str, job_id: str) -> FoundJob:
    """The job, for a caller.

    Raises:
        NotFound: there is none for this tenant, or it was deleted.
        Unavailable: JetStream does not answer.
    """
    try:
        found = await find_job(jetstream, tenant, job_id)
    except NoAnswerError as error:
        raise Unavailable("the job store does not answer", retry_after=1.0) from error
    if found is None or found.head.deleted:
        raise NotFound("no such job")
    return found


async def view_job(jetstream: JetStream, found: FoundJob, *, with_answer: bool = True) -> JobView:
    """What a caller sees of a job.

    Raises:
        Unavailable: JetStream does not answer.
    """
    try:
        lines = await _lines(jetstream, found)
    except NoAnswerError as error:
        raise Unavailable("the job store does not answer", retry_after=1.0) from error
    return view(found.summary, fold(lines), with_answer=with_answer)


async def _lines(jetstream: JetStream, found: FoundJob) -> list[Append]:
    head = found.head
    for _ in range(5):
        try:
            return await read_lines(jetstream, found.tenant, found.summary.id, head)
        except NoAnswerError:
            # A running log moves on while it is read, or was sealed: look at its new head.
            head = await read_head(jetstream, found.tenant, found.summary.id)
    return await read_lines(jetstream, found.tenant, found.summary.id, head)
