"""What is listed: a leader that cannot see its pools must not look like one that is well."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from tidegate.chassis.health import Health
from tidegate.chassis.kubernetes_api import ApiServerError, KubernetesApi
from tidegate.chassis.settings import PodSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate_operator.paths import DEPLOYMENTS, HPAS, POOLS, Resource
from tidegate_operator.registry import Key, Registry
from tidegate_operator.watching import Watch

A, B = Key("ns", "a"), Key("ns", "b")


def pool(name: str, version: int, generation: int = 1) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, "spec": {"queue": name}}


def deployment(name: str, version: int, replicas: int) -> dict[str, Any]:
    return pool(name, version) | {"spec": {"replicas": replicas}}


class Lists:
    """An API server that has these pools and Deployments, or refuses to list a kind."""

    def __init__(self) -> None:
        self.pools: list[dict[str, Any]] = []
        self.deployments: list[dict[str, Any]] = []
        self.refused: set[Resource] = set()
        # Is told while a kind is being listed.
        self.meanwhile: Callable[[Resource], object] = lambda _: None
        self.asked_for_pools = asyncio.Event()

    async def pages(self, path: str, selector: str) -> AsyncIterator[list[dict[str, Any]]]:
        kind = next(each for each in (HPAS, DEPLOYMENTS, POOLS) if path.endswith(each.plural))
        if kind is POOLS:
            self.asked_for_pools.set()
        if kind in self.refused:
            raise ApiServerError(f"GET {path}: 403 is forbidden", 403)
        found = {POOLS: self.pools, DEPLOYMENTS: self.deployments}.get(kind, [])
        self.meanwhile(kind)
        yield list(found)


class World:
    def __init__(self) -> None:
        self.lists, self.health, self.registry = Lists(), Health(), Registry()
        self.watch = Watch(
            cast(KubernetesApi, self.lists),
            cast(PodSettings, None),
            self.registry,
            TaskGuard(),
            health=self.health,
            namespaces=("ns",),
        )


@pytest.fixture
async def world() -> World:
    return World()


async def test_who_cannot_list_is_not_ready_and_says_why(world: World) -> None:
    """As where the definition of the kind, or the right to see it, is missing."""
    world.lists.refused = {POOLS}
    begin = asyncio.create_task(world.watch.begin())
    await world.lists.asked_for_pools.wait()
    await asyncio.sleep(0)
    assert not world.health.ready
    begin.cancel()
    with suppress(asyncio.CancelledError):
        await begin
    assert "workerpools: 403" in world.health.failing["watch"]


async def test_before_all_is_listed_it_is_not_ready(world: World) -> None:
    told: list[bool] = []
    world.lists.meanwhile = lambda _: told.append(world.health.ready)
    world.lists.refused = {POOLS}
    begin = asyncio.create_task(world.watch.begin())
    await world.lists.asked_for_pools.wait()
    begin.cancel()
    assert told == [False, False]
    world.lists.refused = set()
    await world.watch.catch_up()
    assert world.health.ready


async def test_who_follows_and_lists_nothing_is_not_held_to_it(world: World) -> None:
    assert "watch" not in world.health.failing


@pytest.mark.parametrize("kind", [HPAS, DEPLOYMENTS, POOLS])
async def test_a_later_listing_that_fails_is_told_until_one_works(
    world: World, kind: Resource
) -> None:
    await world.watch.catch_up()
    assert world.health.ready
    world.lists.refused = {kind}
    with pytest.raises(ApiServerError):
        await world.watch.catch_up()
    if kind is not POOLS:
        # That another kind can be listed says nothing of this.
        await world.watch.catch_up_with_pools()
    assert list(world.health.failing) == ["watch"]
    world.lists.refused = set()
    await world.watch.catch_up()
    assert world.health.ready


async def test_what_is_listed_no_more_is_forgotten(world: World) -> None:
    world.lists.pools = [pool("a", 1), pool("b", 2)]
    await world.watch.catch_up()
    world.lists.pools = [pool("b", 2)]
    await world.watch.catch_up()
    assert list(world.registry.pools) == [B]


async def test_after_a_restore_a_listing_is_believed_though_its_versions_are_older(
    world: World,
) -> None:
    world.registry.saw_pool(pool("a", 900, generation=9))
    world.registry.saw_deployment(deployment("a", 901, 4))
    world.lists.pools, world.lists.deployments = [pool("a", 5)], [deployment("a", 6, 1)]
    await world.watch.catch_up()
    assert world.registry.pools[A]["metadata"]["generation"] == 1
    assert world.registry.deployments[A]["spec"]["replicas"] == 1


async def test_what_was_told_during_a_listing_is_newer_than_it(world: World) -> None:
    world.registry.saw_deployment(deployment("a", 5, 1))
    world.lists.deployments = [deployment("a", 5, 1)]

    def meanwhile(kind: Resource) -> None:
        if kind is DEPLOYMENTS:
            world.registry.saw_deployment(deployment("a", 6, 4))

    world.lists.meanwhile = meanwhile
    await world.watch.catch_up()
    assert world.registry.deployments[A]["spec"]["replicas"] == 4
