"""What becomes of a job whose reader has gone: nothing that is not known for sure ends it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tests.support.log_world import wait_until
from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import NoAnswerError, Stored
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.jobs import JobClass, OnDisconnect, QueuedJob, encode_job
from tidegate.contracts.subjects import left_subject
from tidegate.eventlog.lookup import FoundJob
from tidegate.gateway import lingers as module
from tidegate.gateway.lingers import Lingers
from tidegate.gateway.metrics import GatewayMetrics

TENANT, JOB = "acme", "job_" + "a" * 26
# Its policy can be read, and nothing else of it.
BROKEN = b'{"on_disconnect":"cancel"}'

Answer = int | None | Exception


class World:
    """NATS, the queue and the fleet, as a test says they are; `answers` are the fleet's, in order.

    After the last of them nobody answers any more. `on_ask` is called before each answer.
    """

    def __init__(self, *answers: Answer, queued: bytes | None) -> None:
        self.answers = list(answers)
        self.on_ask: Callable[[], None] = lambda: None
        self.asked = 0
        self.queued = queued
        self.unanswered = 0
        self.said: list[str] = []
        self.cancelled: list[str] = []
        self.registry = CollectorRegistry()
        as_any: Any = self
        self.guard = TaskGuard()
        self.lingers = Lingers(
            as_any,
            as_any,
            self.guard,
            as_any,
            as_any,
            linger=0.01,
            cancel=self.cancel,
            metrics=GatewayMetrics(self.registry),
        )

    def left(self) -> None:
        """A process says that its last reader has left."""
        self.lingers._on_left(TENANT, JOB)

    async def outcome(self) -> str:
        """What became of the first linger that has ended."""
        await wait_until(self._outcomes)
        assert self.guard.fault is None
        return self._outcomes()[0]

    def _outcomes(self) -> list[str]:
        return [
            sample.labels["outcome"]
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "tidegate_gateway_lingers_total" and sample.value
        ]

    # The fleet.

    async def open(self, on_left: Any) -> None:
        del on_left

    async def close(self) -> None:
        pass

    async def ask(self, tenant: str, job_id: str, *, within_ms: int) -> int | None:
        assert (tenant, job_id, within_ms) == (TENANT, JOB, 10)
        self.asked += 1
        self.on_ask()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def note_left(self, tenant: str, job_id: str) -> None:
        assert (tenant, job_id) == (TENANT, JOB)

    # NATS.

    async def publish(self, subject: str) -> None:
        self.said.append(subject)

    async def last(self, stream: str, subject: str) -> Stored | None:
        if self.unanswered:
            self.unanswered -= 1
            raise NoAnswerError("away")
        if stream != "JOBS" or self.queued is None:
            return None
        return Stored(subject, 1, self.queued, 0)

    async def cancel(self, found: FoundJob) -> None:
        self.cancelled.append(found.summary.id)


def job(policy: OnDisconnect = "cancel") -> bytes:
    """The queue's message of a job."""
    return encode_job(
        QueuedJob(
            id=JOB,
            tenant=TENANT,
            key_id="k",
            queue="default",
            job_class=JobClass.INTERACTIVE,
            ttl_ms=1,
            model="m",
            request_hash="h",
            request=msgspec.Raw(b"{}"),
            on_disconnect=policy,
        )
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)


async def test_a_job_that_nobody_reads_is_cancelled_after_two_silences() -> None:
    world = World(queued=job())
    world.left()
    assert await world.outcome() == "cancelled"
    assert (world.cancelled, world.asked) == ([JOB], 2)


@pytest.mark.parametrize("queued", [job("detach"), b"{}"])
async def test_a_job_that_is_to_go_on_costs_one_look(queued: bytes) -> None:
    world = World(queued=queued)
    world.left()
    assert await world.outcome() == "detached"
    assert world.asked == 0


async def test_a_job_that_is_not_queued_has_ended() -> None:
    world = World(queued=None)
    world.left()
    assert await world.outcome() == "ended"


@pytest.mark.parametrize("answers", [[0], [None, 0], [4, 0]])
async def test_a_reader_at_either_question_saves_the_job(answers: list[Answer]) -> None:
    world = World(*answers, queued=job())
    world.left()
    assert await world.outcome() == "read"
    assert world.cancelled == []


async def test_who_left_a_moment_ago_is_waited_for_anew() -> None:
    world = World(9, 9, None, 3, queued=job())
    world.left()
    assert await world.outcome() == "cancelled"
    assert world.asked == 6


async def test_a_reader_that_goes_while_it_is_counted_is_lingered_over() -> None:
    """Its leaving was heard while the linger before was under way, and nobody will say it again."""
    world = World(0, queued=job())
    world.on_ask = lambda: world.left() if world.asked == 1 else None
    world.left()
    assert await world.outcome() == "cancelled"
    assert world.asked == 3


@pytest.mark.parametrize("answers", [[Unavailable("away")], [None, Unavailable("away")]])
async def test_while_nobody_can_be_asked_nothing_is_decided(answers: list[Answer]) -> None:
    world = World(*answers, 0, queued=job())
    world.left()
    assert await world.outcome() == "read"


async def test_a_silence_counts_only_where_nats_answers() -> None:
    world = World(None, 0, queued=job())

    def freeze() -> None:
        world.unanswered = 1 if world.asked == 1 else 0

    world.on_ask = freeze
    world.left()
    assert await world.outcome() == "read"
    assert world.asked == 2


async def test_what_cannot_be_read_is_left_alone() -> None:
    for queued in (b"garbage", BROKEN):
        world = World(queued=queued)
        world.left()
        assert await world.outcome() == "unreadable"
        assert world.cancelled == []


async def test_more_than_the_bound_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 0)
    world = World(queued=job())
    world.left()
    assert await world.outcome() == "too_many"
    assert world.asked == 0


async def test_a_gateway_that_stops_hands_on_what_it_lingers_over() -> None:
    world = World(queued=job())
    world.left()
    await world.lingers.stop(Deadline(1))
    assert world.said == [left_subject(TENANT, JOB)]
    await world.guard.cancel_all()
    assert world.cancelled == []
