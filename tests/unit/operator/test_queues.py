"""What is believed of the answers of JetStream's leaders and replicas."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidegate.chassis.jetstream import JetStream
from tidegate_operator import queues
from tidegate_operator.queues import BlindError, Queue


class Answers:
    """A JetStream whose consumers say what they are given here."""

    def __init__(self) -> None:
        self.delivered = 10
        self.came_ms: int | None = None

    async def api(self, subject: str) -> dict[str, Any]:
        return {
            "created": "2026-01-01T00:00:00Z",
            "ts": "2026-01-01T00:01:00+00:00",
            "num_pending": 1,
            "num_ack_pending": 0,
            "delivered": {"consumer_seq": self.delivered, "stream_seq": 5},
            "ack_floor": {"stream_seq": 5},
            "config": {},
        }

    async def direct_batch(self, *_: object, **__: object) -> SimpleNamespace:
        found = [] if self.came_ms is None else [SimpleNamespace(time_ms=self.came_ms)]
        return SimpleNamespace(messages=found)


def queue_of(answers: Answers) -> Queue:
    return Queue(cast(JetStream, answers), "chat", "ns/operator")


async def test_a_leader_that_is_behind_is_not_believed_at_the_second_look_either() -> None:
    answers = Answers()
    queue = queue_of(answers)
    await queue.look()
    answers.delivered = 4
    for _ in range(3):
        with pytest.raises(BlindError):
            await queue.look()
    answers.delivered = 10
    await queue.look()


async def test_a_leader_that_stays_behind_is_believed_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers()
    queue = queue_of(answers)
    await queue.look()
    monkeypatch.setattr(queues, "_CATCH_UP_SECONDS", 0.0)
    answers.delivered = 4
    await queue.look()


async def test_a_message_that_a_replica_lacks_is_asked_for_again() -> None:
    answers = Answers()
    queue = queue_of(answers)
    assert (await queue.look()).ages.undelivered == 0.0
    answers.came_ms = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    assert (await queue.look()).ages.undelivered == 60.0
