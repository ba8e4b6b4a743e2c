"""All pools of a leader: one that nobody looks at any more must not look like one that is well."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health, health_app
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.kubernetes_api import KubernetesApi
from tidegate.chassis.tasks import TaskGuard
from tidegate_operator.fleet import Fleet
from tidegate_operator.lease import Term
from tidegate_operator.metrics import OperatorMetrics
from tidegate_operator.parts import KeeperParts
from tidegate_operator.registry import Key, Registry
from tidegate_operator.watching import Watch
from tidegate_operator.workers import Workers
from tidegate_operator.writes import Writer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class NeverAnswers:
    """A JetStream, or an API server, that takes a request and never says a word."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def api(self, *_: object) -> dict[str, Any]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


class Listed:
    """A watch that has seen all there is."""

    alive = True

    async def begin(self) -> None:
        """At once."""

    async def catch_up(self) -> None:
        """There is nothing new."""

    async def stop(self, deadline: Deadline) -> None:
        """It never began."""


class World:
    """A fleet of one pool, on what never answers."""

    def __init__(self) -> None:
        self.clock, self.jetstream, self.watch = Clock(), NeverAnswers(), Listed()
        self.guard = TaskGuard()
        self.registry = Registry(self._changed)
        term = Term("1-me", float("inf"), self.clock)
        parts = KeeperParts(
            api=cast(KubernetesApi, None),
            jetstream=cast(JetStream, self.jetstream),
            registry=self.registry,
            workers=Workers(self.clock),
            writer=Writer(cast(KubernetesApi, None), lambda: term, identity="me"),
            metrics=OperatorMetrics(CollectorRegistry()),
            template={},
            operator="ns/operator",
            look_seconds=1.0,
            places=asyncio.Semaphore(1),
            clock=self.clock,
        )
        self.fleet = Fleet(parts, cast(Watch, self.watch), self.guard, default=None)

    def _changed(self, key: Key) -> None:
        self.fleet.changed(key)

    def add(self, name: str) -> None:
        metadata = {
            "name": name,
            "namespace": "ns",
            "uid": name,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self.registry.saw_pool({"metadata": metadata, "spec": {"queue": name}})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.fleet.stop(Deadline(1.0))
    await world.guard.cancel_all()


async def test_a_look_that_never_ends_fails_the_liveness_probe(world: World) -> None:
    world.add("chat")
    world.fleet.begin()
    await world.jetstream.asked.wait()
    health = Health()
    health.watch(lambda: world.fleet.stuck)
    app = health_app(health, CollectorRegistry())
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/livez")).status == 200
        world.clock.now += 179.0
        assert (await client.get("/livez")).status == 200
        world.clock.now += 2.0
        answer = await client.get("/livez")
        assert answer.status == 503
        assert "chat" in await answer.text()


async def test_a_pool_that_waits_for_its_turn_for_ever_counts_too(world: World) -> None:
    """The one that is stuck may be gone meanwhile; those that it held up are not looked at."""
    for name in ("one", "other"):
        world.add(name)
    world.fleet.begin()
    await world.jetstream.asked.wait()
    world.clock.now += 181.0
    assert world.fleet.stuck.startswith("2 pools")


async def test_a_watch_that_has_ended_is_an_end(world: World) -> None:
    world.watch.alive = False
    assert "watch" in world.fleet.stuck


async def test_who_follows_is_never_stuck(world: World) -> None:
    world.add("chat")
    world.clock.now += 1000.0
    assert world.fleet.stuck == ""


async def test_a_pool_that_is_gone_is_not_looked_at_and_not_missed(world: World) -> None:
    world.add("chat")
    world.fleet.begin()
    await world.jetstream.asked.wait()
    world.registry.forget(world.registry.pools, [world.registry.pools[Key("ns", "chat")]])
    world.clock.now += 1000.0
    assert world.fleet.stuck == ""
