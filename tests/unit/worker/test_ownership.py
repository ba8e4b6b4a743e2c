"""Whose a job is, by its log's head: a wrong "mine" takes a job from the worker that runs it."""

import msgspec

from tidegate.contracts.events import Append, AttemptStarted, Delta, Event, encode_event
from tidegate.contracts.jobs import JobClass
from tidegate.eventlog.head import LogHead
from tidegate.worker.delivery import Delivery
from tidegate.worker.held_job import HeldJob
from tidegate.worker.ownership import Ownership, owner_of


def held(attempts: int | None = None) -> HeldJob:
    subject = "jobs.default.batch.3.acme.job_v5pu6gcb5chlzlsqeaunkhagfq"
    made = HeldJob(Delivery(subject, "r", b"", 0), "default", JobClass.BATCH)
    if attempts is not None:
        made.look(attempts)
    return made


def head(attempts: int, event: Event | None = None, *, sealed: bool = False) -> LogHead:
    events: list[msgspec.Raw] = [encode_event(event or Delta("x"))]
    line = Append(attempt=attempts, first=1, at_ms=1, events=events)
    return LogHead(7, line, b"line\nrest" if sealed else b"line", 1)


async def test_an_unread_job_is_nobodys_to_speak_about() -> None:
    assert owner_of(held(), LogHead()) is Ownership.OTHERS


async def test_a_job_is_mine_until_another_attempt_begins() -> None:
    assert owner_of(held(0), LogHead()) is Ownership.MINE
    assert owner_of(held(1), head(1)) is Ownership.MINE
    assert owner_of(held(0), head(1)) is Ownership.OTHERS
    assert owner_of(held(1), head(2)) is Ownership.OTHERS


async def test_a_sealed_job_is_neither() -> None:
    for attempts in (None, 0, 1):
        assert owner_of(held(attempts), head(1, sealed=True)) is Ownership.SEALED


async def test_an_attempt_whose_start_is_not_confirmed_yet_knows_itself() -> None:
    """Else a reconnect in that moment would end a healthy attempt."""
    job = held(1)
    job.begin("w-1")
    assert owner_of(job, head(1)) is Ownership.MINE
    assert owner_of(job, head(2, AttemptStarted(2, "w-1"))) is Ownership.MINE
    assert owner_of(job, head(2, AttemptStarted(2, "w-2"))) is Ownership.OTHERS
    job.has_begun(2)
    assert owner_of(job, head(2)) is Ownership.MINE
    assert owner_of(job, head(3, AttemptStarted(3, "w-2"))) is Ownership.OTHERS
