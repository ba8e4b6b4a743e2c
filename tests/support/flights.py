"""Jobs that ask the same at once: who leads, who follows, and leaders that a test plays itself."""

import msgspec

from tests.support.log_world import Events
from tests.support.scripted_cache import ScriptedCache, miss
from tests.support.worker_world import TENANT, WorkerWorld, attempts_of
from tidegate.chassis.jetstream import Stored
from tidegate.contracts.jobs import JobClass, QueuedJob, new_job_id
from tidegate.contracts.subjects import FLIGHTS_ALL, FLIGHTS_STREAM, MESSAGE_TTL, flight_subject
from tidegate.eventlog.writer import LogWriter
from tidegate.worker.flights import FlightPolicy
from tidegate.worker.lease import Lease, encode_lease

# As ever, but for machines that are so busy that NATS takes a while to be heard.
PATIENT = FlightPolicy(answer=5.0)
# Silences that are over, and leases that run out, while a test waits.
BRIEF = FlightPolicy(lease=1, renew=0.2, answer=5.0, look=0.3)

KEY = "a" * 64


def tiers(events: Events) -> list[str | None]:
    """Where each attempt had its answer from."""
    return [each.cache.tier if each.cache else None for each in attempts_of(events)]


def sources(events: Events) -> list[str]:
    """The jobs that were followed."""
    return [each.cache.source for each in attempts_of(events) if each.cache and each.cache.source]


async def lease_of(world: WorkerWorld) -> Stored | None:
    """The only lease there is."""
    return await world.jetstream.last(FLIGHTS_STREAM, FLIGHTS_ALL)


async def put_lease(world: WorkerWorld, job_id: str, *, owner: str = "the-test") -> None:
    """Has a job lead the request of `KEY`, whoever led before."""
    payload = encode_lease(Lease(job_id, owner))
    await world.jetstream.publish(flight_subject(TENANT, KEY), payload, {MESSAGE_TTL: "60s"})


async def end_lease(world: WorkerWorld) -> None:
    """Makes it as if the only lease had run out."""
    await world.jetstream.api(f"STREAM.PURGE.{FLIGHTS_STREAM}")


async def leading(world: WorkerWorld) -> QueuedJob:
    """A job that has begun to call."""
    job = await world.submit(tokens=None)
    await world.calls_running(1)
    return job


async def until_said(world: WorkerWorld, job: QueuedJob, *words: str) -> None:
    """Returns when an event of the job's log holds these words."""
    async for batch in world.log_reader.events(job.tenant, job.id, 0):
        if any(all(word.encode() in bytes(each.raw) for word in words) for each in batch):
            return


async def until_following(world: WorkerWorld, job: QueuedJob) -> None:
    """Returns when the job follows another."""
    await until_said(world, job, '"attempt_started"', '"coalesced"')


class PlayedLeader:
    """A job that leads the request of `KEY`, and is in no worker's hands but the test's.

    `writer` writes its log, in which an attempt has begun.
    """

    def __init__(self, job: QueuedJob, writer: LogWriter) -> None:
        self.job = job
        self.writer = writer

    @classmethod
    async def begin(cls, world: WorkerWorld, cache: ScriptedCache) -> "PlayedLeader":
        """Begins its attempt; from now on all that the cache is asked is the request of `KEY`."""
        cache.say(miss(KEY))
        job = QueuedJob(
            id=new_job_id(),
            tenant=TENANT,
            key_id="",
            queue="default",
            job_class=JobClass.INTERACTIVE,
            ttl_ms=600_000,
            model="sim-1",
            request_hash="",
            request=msgspec.Raw(b"{}"),
        )
        writer = await world.start_attempt(job, provider="simulator", model="sim-small")
        await put_lease(world, job.id)
        return cls(job, writer)
