"""Who is told to be reading: a wrong word cancels a job under its reader's eyes."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.log_world import wait_until
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.presence import decode_asked, decode_told, encode_told
from tidegate.contracts.subjects import here_subject, left_subject
from tidegate.eventlog import presence as module
from tidegate.eventlog.census import Census
from tidegate.eventlog.held_tails import Held, forgettable, silent
from tidegate.eventlog.presence import LONGEST_MEMORY, Presence
from tidegate.eventlog.tail import Tail

JOB = ("acme", "job_" + "a" * 26)
OTHER = ("acme", "job_" + "b" * 26)


@dataclass
class Message:
    subject: str
    data: bytes


class Nats:
    """A connection that hands each message to who listens, in this process, before it returns."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.connected = True
        self.refused = 0
        self.listeners: dict[str, list[Any]] = {}

    @property
    def client(self) -> "Nats":
        return self

    async def subscribe(self, subject: str, *, cb: Any, queue: str = "") -> None:
        del queue
        self.listeners.setdefault(subject.partition(".")[0], []).append(cb)

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        if not self.connected:
            self.refused += 1
            raise Unavailable("away")
        self.said.append(subject)
        for listener in self.listeners.get(subject.partition(".")[0], []):
            await listener(Message(subject, payload))


class Process:
    """One process: the jobs that it has readers of, and what it says of them."""

    def __init__(self, nats: Nats) -> None:
        self.now = 1_000.0
        self.followed: set[tuple[str, str]] = set()
        self.on_abandoned: Callable[[str, str], None]
        as_any: Any = self
        connection: Any = nats
        self.guard = TaskGuard()
        self.presence = Presence(as_any, connection, self.guard, clock=lambda: self.now)

    def is_followed(self, tenant: str, job_id: str) -> bool:
        return (tenant, job_id) in self.followed

    def leave(self, job: tuple[str, str]) -> None:
        self.followed.discard(job)
        self.on_abandoned(*job)


@pytest.fixture
def nats() -> Nats:
    return Nats()


@pytest.fixture
async def processes(nats: Nats) -> AsyncIterator[list[Process]]:
    made = [Process(nats) for _ in range(3)]
    for each in made:
        await each.presence.start()
    yield made
    for each in made:
        await each.presence.stop(Deadline(1))
        await each.guard.cancel_all()


@pytest.fixture
async def census(nats: Nats) -> Census:
    connection: Any = nats
    census = Census(connection, answer_seconds=0.05)
    await census.open(lambda _tenant, _job_id: None)
    return census


async def test_nobody_answers_for_a_job_that_nobody_reads(
    processes: list[Process], census: Census
) -> None:
    processes[0].followed.add(OTHER)
    assert await census.ask(*JOB, within_ms=10_000) is None


async def test_one_reader_in_the_fleet_is_enough(processes: list[Process], census: Census) -> None:
    processes[0].leave(JOB)
    processes[2].followed.add(JOB)
    assert await census.ask(*JOB, within_ms=10_000) == 0


async def test_who_left_last_counts(processes: list[Process], census: Census) -> None:
    """Else a linger that began with the first to leave would end under the last one's feet."""
    for process, seconds in zip(processes, (9.0, 2.0, 30.0), strict=True):
        process.leave(JOB)
        process.now += seconds
    assert await census.ask(*JOB, within_ms=10_000) == 2_000
    assert await census.ask(*JOB, within_ms=2_000) is None
    processes[1].now += 7.5
    assert await census.ask(*JOB, within_ms=10_000) == 9_000


async def test_the_last_reader_to_leave_a_process_is_told_of(
    nats: Nats, processes: list[Process]
) -> None:
    processes[0].leave(JOB)
    await wait_until(lambda: nats.said)
    assert nats.said == [left_subject(*JOB)]


async def test_one_that_came_back_at_once_is_not(nats: Nats, processes: list[Process]) -> None:
    processes[0].leave(JOB)
    processes[0].followed.add(JOB)
    processes[0].leave(OTHER)
    await wait_until(lambda: nats.said)
    assert nats.said == [left_subject(*OTHER)]


async def test_what_could_not_be_said_in_an_outage_is_said_after_it(
    nats: Nats, processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    nats.connected = False
    processes[0].leave(JOB)
    processes[0].leave(OTHER)
    await wait_until(lambda: nats.refused > 2)
    nats.connected = True
    await wait_until(lambda: len(nats.said) == 2)
    assert nats.said == [left_subject(*JOB), left_subject(*OTHER)]


async def test_the_end_of_a_process_speaks_for_the_readers_it_lets_go(nats: Nats) -> None:
    process = Process(nats)
    await process.presence.start()
    process.leave(JOB)
    await process.presence.stop(Deadline(1))
    assert nats.said == [left_subject(*JOB)]
    await process.guard.cancel_all()


async def test_memory_is_bounded_in_number_and_in_time(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    process = processes[0]
    for number in range(4):
        process.presence.note_left("acme", f"job-{number}")
    known = [process.presence.idle_ms("acme", f"job-{number}") for number in range(4)]
    assert known == [None, None, 1, 1]
    process.now += LONGEST_MEMORY + 1
    process.presence.note_left("acme", "job-9")
    assert process.presence.idle_ms("acme", "job-3") is None


async def test_an_answer_that_cannot_be_read_lets_the_job_go_on(
    nats: Nats, processes: list[Process], census: Census
) -> None:
    """It is of another release; whoever answers has a reader."""

    async def newer(message: Message) -> None:
        await nats.publish(here_subject(*JOB), b'{"v": 2, "readers": 4}')

    await nats.subscribe("readers.*.*", cb=newer)
    assert await census.ask(*JOB, within_ms=10_000) == 0
    assert decode_told(encode_told(7)).idle_ms == 7
    assert decode_asked(b"garbage").within_ms == 0


# Which tails a reader reports, verifies and forgets.


def held(touched: float, *, listened: bool = False, **state: Any) -> Held:
    tail = Tail(*JOB)
    tail.bytes = 10
    if listened:
        tail.listeners.add(lambda: None)
    return Held(tail, touched, **state)


def test_a_job_that_ended_or_is_known_to_go_on_is_not_abandoned() -> None:
    assert held(0).abandoned
    assert not held(0, listened=True).abandoned
    assert not held(0, detached=True).abandoned
    # Whoever asks for ids at random must not have the gateways look each of them up.
    assert not held(0, missing=True).abandoned
    ended = held(0)
    ended.tail.ended = True
    assert not ended.abandoned


def test_silent_tails_are_those_that_somebody_waits_for() -> None:
    late, later = held(2, listened=True), held(1, listened=True)
    assert silent([held(0), late, later, held(9, listened=True)], since=5) == [later, late]


def test_what_is_not_read_is_forgotten_by_age_and_then_by_size() -> None:
    tails = {"old": held(1), "older": held(0), "new": held(8), "newer": held(9)}
    tails["read"] = held(0, listened=True)
    assert list(forgettable(tails, 1, 1_000)) == ["older", "old"]
    assert list(forgettable(tails, 1, 10)) == ["older", "old", "new"]
