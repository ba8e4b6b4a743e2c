"""Where a batch job waits: in its slot, or in the queue."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from tidegate.contracts.errors import Reason
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.subjects import job_subject
from tidegate.worker.calls import CallParts, JobCalls, ParkedError, UnledError
from tidegate.worker.course import Course, CourseParts
from tidegate.worker.delivery import Delivery
from tidegate.worker.held_job import HeldJob
from tidegate.worker.lead import Lead
from tidegate.worker.waits import BatchWaits

NOW = 1_000.0
JOB = QueuedJob(
    id="j1",
    tenant="t1",
    key_id="",
    queue="default",
    job_class=JobClass.BATCH,
    ttl_ms=60_000,
    model="m",
    request_hash="",
    request=msgspec.Raw(b"{}"),
)
UNUSED: Any = None


def waits_of(slots: int) -> BatchWaits:
    return BatchWaits(slots, Gauge("waiting", "", registry=CollectorRegistry()))


def calls(
    waits: BatchWaits,
    job_class: JobClass = JobClass.BATCH,
    *,
    outdated: bool = False,
    lead: Lead | None = None,
    course: type[Course] = Course,
) -> JobCalls:
    parts = CallParts(
        clients=UNUSED, waits=waits, tracing=UNUSED, metrics=UNUSED, clock=lambda: NOW
    )
    subject = job_subject("default", job_class, JOB.tenant, JOB.id)
    held = HeldJob(Delivery(subject, "", b"", 0), "default", job_class)
    course_parts = CourseParts("w", UNUSED, UNUSED, clock=lambda: NOW, monotonic=lambda: NOW)
    return JobCalls(
        parts,
        course(course_parts, held, JOB, UNUSED, UNUSED, number=0),
        held,
        JOB,
        UNUSED,
        lead=lead or Lead(),
        left=1,
        outdated=lambda: outdated,
    )


async def test_no_more_wait_in_their_slots_than_may() -> None:
    waits = waits_of(16)
    held = [calls(waits) for _ in range(3)]
    for one in held[:2]:
        # Again and again, it is one that waits.
        for _ in range(2):
            await one.wait(Reason.CIRCUIT_OPEN, NOW + 5)
    with pytest.raises(ParkedError):
        await held[2].wait(Reason.CIRCUIT_OPEN, NOW + 5)
    held[0].close()
    await held[2].wait(Reason.CIRCUIT_OPEN, NOW + 5)
    assert waits.count("default") == 2


async def test_who_waits_for_targets_of_old_routes_goes_back_to_the_queue() -> None:
    """They may never come back; and it holds a slot that the new ones could use."""
    waits = waits_of(16)
    with pytest.raises(ParkedError):
        await calls(waits, outdated=True).wait(Reason.CIRCUIT_OPEN, NOW + 5)
    assert waits.count("default") == 0


async def test_a_short_wait_and_an_interactive_one_are_made_where_they_are() -> None:
    waits = waits_of(16)
    await calls(waits, outdated=True).wait(Reason.CIRCUIT_OPEN, NOW + 1)
    await calls(waits, JobClass.INTERACTIVE, outdated=True).wait(Reason.CIRCUIT_OPEN, NOW + 5)
    assert waits.count("default") == 0


class Given(Lead):
    """A lead that stands until it is given up."""

    def __init__(self) -> None:
        super().__init__()
        self.given_up = False

    @property
    def stands(self) -> bool:
        return not self.given_up

    def give_up(self) -> None:
        self.given_up = True


async def test_a_batch_job_that_waits_long_leads_nobody_meanwhile() -> None:
    """Whoever follows it may have a person waiting; and when it may call, another may have."""
    lead = Given()
    batch = calls(waits_of(16), lead=lead)
    await batch.wait(Reason.CIRCUIT_OPEN, NOW + 1)
    assert lead.stands
    await batch.wait(Reason.CIRCUIT_OPEN, NOW + 5)
    with pytest.raises(UnledError):
        await batch.call(UNUSED, UNUSED)


async def test_an_interactive_job_leads_on_while_it_waits() -> None:
    """Its own patience is short, and its followers would only wait for the same."""
    lead = Given()
    await calls(waits_of(16), JobClass.INTERACTIVE, lead=lead).wait(Reason.CIRCUIT_OPEN, NOW + 9)
    assert lead.stands


class Slow(Course):
    """Its append takes so long that its lead is over before it is stored."""

    lead: Given
    excused = 0

    async def begin_call(self, *_: Any, **__: Any) -> Any:
        self.lead.give_up()

    def failed(self, why: str, *, excused: bool) -> None:
        Slow.excused += excused


async def test_a_lease_that_runs_out_while_the_attempt_begins_is_no_reason_to_call() -> None:
    """Somebody else may have called meanwhile; and what was not called for costs no attempt."""
    Slow.lead, Slow.excused = Given(), 0
    job = calls(waits_of(16), lead=Slow.lead, course=Slow)
    target: Any = SimpleNamespace(key=("p", "m"))
    permit: Any = SimpleNamespace(answering=None)
    with pytest.raises(UnledError):
        await job.call(target, permit)
    assert (Slow.excused, job.left) == (1, 1)
