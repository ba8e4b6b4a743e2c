"""What is heard over NATS: who follows for months must not keep all that was ever told."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.load import WorkerLoad, encode_load
from tidegate.contracts.subjects import LOAD_ALL, load_subject
from tidegate_operator.fleet import Fleet
from tidegate_operator.hearing import Hearing
from tidegate_operator.workers import Workers

NOTHING: Final[dict[str, Any]] = {
    "waiting": 0,
    "blocked": False,
    "draining": False,
    "ended": 0,
    "busy_seconds": 0.0,
    "output_tokens": 0,
    "nano_usd": 0,
    "priced": 0,
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Hands to who listens what a test says."""

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[[Any], object]] = {}

    async def listen(self, subject: str, heard: Callable[[Any], object]) -> None:
        self.listeners[subject] = heard

    def tell(self, queue: str) -> None:
        load = WorkerLoad(worker="w", host="pod", queue=queue, slots=8, running=1, **NOTHING)
        message = SimpleNamespace(subject=load_subject(queue, "w"), data=encode_load(load))
        self.listeners[LOAD_ALL](message)


class Remembering(Workers):
    """Says of which queues it knows anything."""

    @property
    def known(self) -> set[str]:
        return set(self._sums)


class World:
    def __init__(self) -> None:
        self.clock, self.client = Clock(), Client()
        self.workers = Remembering(self.clock)
        self.fleet = SimpleNamespace(leads=False)
        nats = cast(NatsConnection, SimpleNamespace(client=self.client))
        self.hearing = Hearing(nats, self.workers, cast(Fleet, self.fleet), self.clock)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.hearing.start()
    return world


async def test_who_follows_forgets_a_queue_that_nobody_tells_of(world: World) -> None:
    world.client.tell("old")
    world.client.tell("chat")
    world.clock.now += 400.0
    world.client.tell("chat")
    world.clock.now += 400.0
    world.client.tell("new")
    assert world.workers.known == {"chat", "new"}


async def test_who_leads_forgets_by_its_pools_alone(world: World) -> None:
    """A pool at zero has no worker, and its jobs will last as long as before."""
    world.fleet.leads = True
    world.client.tell("idle")
    world.clock.now += 4000.0
    world.client.tell("chat")
    assert world.workers.known == {"idle", "chat"}
