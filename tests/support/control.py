"""Cancelling a job durably, as a gateway does that is killed the moment after."""

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.control import encode_cancel
from tidegate.contracts.subjects import JOBS_STREAM, control_subject, job_anywhere


async def record_cancel(jetstream: JetStream, tenant: str, job_id: str) -> None:
    """Stores the record; where no such job waits, one that means an earlier job of its id."""
    queued = await jetstream.last(JOBS_STREAM, job_anywhere(tenant, job_id))
    record = encode_cancel(0 if queued is None else queued.time_ms)
    await jetstream.publish(control_subject(tenant, job_id), record, {})
