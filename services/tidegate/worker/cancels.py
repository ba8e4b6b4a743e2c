"""Whether somebody asked for a job's end."""

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.subjects import CONTROL_STREAM, control_subject


async def is_cancelled(jetstream: JetStream, tenant: str, job_id: str, created_ms: int) -> bool:
    """Whether a request to cancel is stored, read from the leader.

    One that is older than the job's message (both by JetStream's clock) was meant for a job that
    had the same request id before, and whose result has expired since.

    Raises:
        NoAnswerError, RefusedError: JetStream does not answer.
    """
    stored = await jetstream.last(CONTROL_STREAM, control_subject(tenant, job_id))
    return stored is not None and stored.time_ms >= created_ms
