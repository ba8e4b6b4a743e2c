"""Jobs that fail for good, with the dead letters that their worker leaves."""

from typing import Any

from tests.support.gateway_world import GatewayWorld
from tidegate.contracts.dead_letter import DeadLetter, encode_dead_letter
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import AttemptStarted, Failed
from tidegate.contracts.jobs import QueuedJob, decode_job
from tidegate.contracts.subjects import JOBS_STREAM, dead_letter_subject, job_anywhere
from tidegate.eventlog.head import LogHead
from tidegate.eventlog.orphan import take_from_queue

WHY = "the provider was away"


async def fail(world: GatewayWorld, **body: Any) -> DeadLetter:
    """A job that is accepted, fails, and is put among the dead letters, as a worker does it."""
    job = await world.create(**body)
    stored = await world.peer.jetstream.last(JOBS_STREAM, job_anywhere("*", job["id"]))
    assert stored is not None
    letter = letter_of(decode_job(stored.payload), created_ms=stored.time_ms)
    writer = world.peer.writer(letter.job, LogHead(), created_ms=stored.time_ms)
    await writer.load()
    await writer.start_attempt(AttemptStarted(1, "w"))
    await writer.seal(Failed(Reason.PROVIDER_UNAVAILABLE, WHY, retriable=True))
    await put(world, letter)
    await take_from_queue(world.peer.jetstream, stored.sequence)
    return letter


def letter_of(job: QueuedJob, *, created_ms: int) -> DeadLetter:
    """The letter of a job that failed after three attempts, a second after it was created."""
    return DeadLetter(
        job=job,
        reason=Reason.PROVIDER_UNAVAILABLE,
        message=WHY,
        retriable=True,
        attempts=3,
        created_ms=created_ms,
        failed_ms=created_ms + 1_000,
    )


async def put(world: GatewayWorld, letter: DeadLetter) -> None:
    """Stores a letter, over one that its job may have."""
    job = letter.job
    subject = dead_letter_subject(job.queue, job.tenant, job.id)
    await world.peer.jetstream.publish(subject, encode_dead_letter(letter), {})
