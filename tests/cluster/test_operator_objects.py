"""What the operator makes for a pool in the cluster and in JetStream: whose it is, and its end."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.bed.cluster import Cluster
from tests.cluster.operator_world import OperatorWorld
from tests.cluster.pool_life import (
    SWIFT,
    answer,
    at_zero,
    container_of,
    deployment_until,
    env_of,
    gone,
    kept_world,
    managers_of,
    named_of,
    take_all,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONSUMERS = {"interactive", "batch"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperatorWorld]:
    async with kept_world(control_plane, tmp_path_factory.mktemp("world")) as world:
        await control_plane.add_nodes(2)
        yield world


async def consumers_until(world: OperatorWorld, queue: str, expected: set[str]) -> None:
    """Returns once a queue has these consumers, by their class."""
    found: set[str] = set()
    for _ in range(600):
        names = await world.consumers()
        found = {each.removeprefix(f"{queue}-") for each in names if each.startswith(f"{queue}-")}
        if found == expected:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{queue} keeps {found}{world.last_words}")


async def test_what_a_pool_says_of_its_workers_reaches_their_pods(world: OperatorWorld) -> None:
    await at_zero(world, "edit")
    await world.pool("edit", **(SWIFT | {"concurrency": 24, "drainSeconds": 300}))
    made = await deployment_until(
        world, "edit", lambda found: env_of(found)["TIDEGATE_WORKER_CONCURRENCY"] == "24"
    )
    env = env_of(made)
    assert (env["TIDEGATE_QUEUES"], env["TIDEGATE_DRAIN_SECONDS"]) == ("edit", "300")
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 310


async def test_a_pods_template_is_changed_and_changed_back(world: OperatorWorld) -> None:
    worker = {"name": "worker", "env": [{"name": "EXTRA", "value": "1"}], "image": "other:1"}
    other = {"spec": {"containers": [worker], "nodeSelector": {"disk": "fast"}}}
    await at_zero(world, "template", template=other)
    made = await deployment_until(world, "template", lambda _: True)
    assert env_of(made)["EXTRA"] == "1"
    assert container_of(made)["image"] == "other:1"
    await world.pool("template", **SWIFT)
    after = await deployment_until(world, "template", lambda found: "EXTRA" not in env_of(found))
    assert container_of(after)["image"] != "other:1"
    assert "nodeSelector" not in after["spec"]["template"]["spec"]


async def test_a_deployment_that_a_person_edits_is_edited_back(world: OperatorWorld) -> None:
    await at_zero(world, "hands")
    before = await deployment_until(world, "hands", lambda _: True)
    edit = [
        {"name": "worker", "image": "mine:1", "env": [{"name": "TIDEGATE_QUEUES", "value": "x"}]}
    ]
    patch = f'{{"spec": {{"template": {{"spec": {{"containers": {edit}}}}}}}}}'.replace("'", '"')
    await world.kubectl("patch", "deployment", "hands", "--patch", patch)
    after = await deployment_until(
        world, "hands", lambda found: env_of(found)["TIDEGATE_QUEUES"] == "hands"
    )
    assert container_of(after) == container_of(before)


async def test_only_the_operator_has_a_say_in_its_deployments(world: OperatorWorld) -> None:
    await at_zero(world, "owned")
    await world.kubectl("scale", "deployment", "owned", "--replicas=1")
    await deployment_until(world, "owned", lambda found: found["spec"]["replicas"] == 0)
    shown = ("get", "deployment", "owned", "--show-managed-fields", "-o", "json")
    found = json.loads(await world.kubectl(*shown))
    assert managers_of(found) == {("tidegate-operator", "Apply")}


async def test_nothing_has_a_finalizer(world: OperatorWorld) -> None:
    await at_zero(world, "final")
    for kind in ("workerpool", "deployment", "poddisruptionbudget"):
        found = await world.get(kind, "final")
        assert found is not None
        assert "finalizers" not in found["metadata"]


async def test_a_pools_consumers_go_with_it_once_their_jobs_are_done(world: OperatorWorld) -> None:
    await at_zero(world, "swept")
    await consumers_until(world, "swept", CONSUMERS)
    await world.kubectl("delete", "wp", "swept")
    await consumers_until(world, "swept", set())


async def test_a_consumer_with_jobs_is_kept_for_the_next_pool(world: OperatorWorld) -> None:
    await at_zero(world, "jobs")
    await world.put_jobs("jobs", 7)
    await world.kubectl("delete", "wp", "jobs")
    await consumers_until(world, "jobs", {"interactive"})
    await world.pool("jobs", **SWIFT)
    await world.until("jobs", lambda pool: pool["status"]["replicas"] == 1)
    await answer(await take_all(world, "jobs", 7))


async def test_the_consumers_of_a_queue_that_a_gateway_routes_to_stay(world: OperatorWorld) -> None:
    await world.route("routed")
    await at_zero(world, "routed")
    await at_zero(world, "unrouted")
    await world.kubectl("delete", "wp", "routed", "unrouted")
    await consumers_until(world, "unrouted", set())
    await consumers_until(world, "routed", CONSUMERS)


async def test_a_pool_that_is_deleted_while_it_scales_leaves_nothing(world: OperatorWorld) -> None:
    await at_zero(world, "midway", maxReplicas=30)
    await world.put_jobs("midway", 140)
    await deployment_until(world, "midway", lambda found: found["spec"]["replicas"] > 0)
    await world.kubectl("delete", "wp", "midway", "--wait=false")
    await world.put_jobs("midway", 70)
    await gone(world, "midway")
    # Whatever the operator still had in hand is behind it by then.
    await at_zero(world, "after")
    assert await named_of(world, "midway") == []


async def test_pods_of_a_pool_that_was_orphaned_are_adopted(world: OperatorWorld) -> None:
    await at_zero(world, "orphan")
    await world.put_jobs("orphan", 14)
    await world.until("orphan", lambda pool: pool["status"]["readyReplicas"] == 2)
    before = await named_of(world, "orphan")
    await world.kubectl("delete", "wp", "orphan", "--cascade=orphan")
    await world.pool("orphan", **SWIFT)
    pool = await world.until("orphan", lambda pool: pool["status"]["readyReplicas"] == 2)
    owner = pool["metadata"]["uid"]
    await deployment_until(
        world,
        "orphan",
        lambda found: [each["uid"] for each in found["metadata"]["ownerReferences"]] == [owner],
    )
    assert await named_of(world, "orphan") == before


async def test_what_somebody_takes_away_is_made_again(world: OperatorWorld) -> None:
    await at_zero(world, "again")
    await world.kubectl("delete", "deployment", "again")
    await deployment_until(world, "again", lambda _: True)
    names = await world.consumers()
    assert "again-batch" in names


async def test_a_pool_takes_all_that_was_made_for_it_along(world: OperatorWorld) -> None:
    await at_zero(world, "gone")
    await world.put_jobs("gone", 21)
    await world.until("gone", lambda pool: pool["status"]["readyReplicas"] == 3)
    kinds = {each.partition("/")[0] for each in await named_of(world, "gone")}
    assert kinds == {
        "deployment.apps",
        "replicaset.apps",
        "pod",
        "poddisruptionbudget.policy",
    }
    await world.kubectl("delete", "wp", "gone")
    await gone(world, "gone")
