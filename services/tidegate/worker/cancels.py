"""Whether somebody asked for a job's end."""

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.control import cancels
from tidegate.contracts.subjects import CONTROL_STREAM, control_subject


async def is_cancelled(jetstream: JetStream, tenant: str, job_id: str, created_ms: int) -> bool:
    """Whether a request to cancel this very job is stored, read from the leader.

    Another may be there: of a job that had the same request id before, and whose result has expired
    since. `created_ms` is JetStream's time of storing this one's message.

    Raises:
        NoAnswerError, RefusedError: JetStream does not answer.
    """
    stored = await jetstream.last(CONTROL_STREAM, control_subject(tenant, job_id))
    return stored is not None and cancels(stored.payload, created_ms)
