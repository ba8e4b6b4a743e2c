"""What a pool says that cannot be kept as it should be, and what becomes of it: not a word less."""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.bed.cluster import Cluster, CommandError
from tests.cluster.operator_world import Object, OperatorWorld, condition, until
from tests.cluster.pool_life import (
    SWIFT,
    at_zero,
    changes,
    deployment_until,
    kept_world,
    reason,
    telling,
)
from tests.cluster.test_chart import rendered

pytestmark = pytest.mark.asyncio(loop_scope="module")
_MANY: Final = 1000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperatorWorld]:
    async with kept_world(control_plane, tmp_path_factory.mktemp("world")) as world:
        yield world


async def make(world: OperatorWorld, body: Object) -> None:
    await world.kubectl("create", "-f", "-", input=json.dumps(body))


async def degraded(world: OperatorWorld, name: str, why: str) -> str:
    """The message of a pool that is degraded for this reason, once it is."""
    pool = await world.until(name, lambda pool: reason(pool, "Degraded") == why)
    told = condition(pool, "Degraded")
    assert told["status"] == "True"
    message: str = told["message"]
    return message


async def test_a_second_pool_of_a_queue_waits_until_the_first_is_gone(world: OperatorWorld) -> None:
    first = await at_zero(world, "first", queue="twin")
    # Kubernetes tells the age of an object in whole seconds.
    made = datetime.fromisoformat(first["metadata"]["creationTimestamp"])
    await until(lambda: datetime.now(UTC) - made > timedelta(seconds=1), "time stands still")
    await world.pool("second", **SWIFT, queue="twin")
    assert f"{world.namespace}/first" in await degraded(world, "second", "QueueTaken")
    assert await world.get("deployment", "second") is None
    (event,) = await world.events("second")
    assert (event["type"], event["reason"]) == ("Warning", "QueueTaken")
    await world.put_jobs("twin", 14)
    await world.until("first", lambda pool: pool["status"]["replicas"] == 2)
    await world.kubectl("delete", "wp", "first")
    await world.until("second", lambda pool: pool["status"]["replicas"] == 2)


async def test_a_deployment_that_an_autoscaler_has_is_left_to_it(world: OperatorWorld) -> None:
    await at_zero(world, "scaler")
    await world.kubectl("autoscale", "deployment", "scaler", "--min=1", "--max=3", "--cpu=80%")
    message = await degraded(world, "scaler", "ForeignAutoscaler")
    assert "HorizontalPodAutoscaler scaler" in message
    await world.put_jobs("scaler", 14)
    # By then the operator has looked at what waits.
    await at_zero(world, "bystander")
    await world.put_jobs("bystander", 14)
    await world.until("bystander", lambda pool: pool["status"]["replicas"] == 2)
    assert await world.replicas("scaler") == 0
    await world.kubectl("delete", "hpa", "scaler")
    await world.until("scaler", lambda pool: pool["status"]["replicas"] == 2)
    assert await changes(world, "scaler") == ["0 to 2"]


async def test_a_deployment_of_somebody_else_is_not_touched(world: OperatorWorld) -> None:
    await world.kubectl("create", "deployment", "foreign", "--image=theirs:1", "--replicas=0")
    before = await deployment_until(world, "foreign", lambda found: found.get("status"))
    await world.pool("foreign", **SWIFT)
    assert "Deployment foreign" in await degraded(world, "foreign", "NameTaken")
    after = await deployment_until(world, "foreign", lambda _: True)
    assert (after["spec"], after["metadata"]["labels"]) == (
        before["spec"],
        before["metadata"]["labels"],
    )
    assert "ownerReferences" not in after["metadata"]
    await world.kubectl("delete", "deployment", "foreign")
    await world.until("foreign", lambda pool: reason(pool, "Ready") == "ScaledToZero")


async def test_a_disruption_budget_of_somebody_else_is_not_touched(world: OperatorWorld) -> None:
    made = ("pdb", "budget", "--selector=app=theirs", "--min-available=1")
    await world.kubectl("create", *made)
    await world.pool("budget", **SWIFT)
    assert "PodDisruptionBudget budget" in await degraded(world, "budget", "BudgetNameTaken")
    found = await world.get("pdb", "budget")
    assert found is not None
    assert found["spec"]["selector"] == {"matchLabels": {"app": "theirs"}}
    assert "ownerReferences" not in found["metadata"]


async def test_an_autoscaler_that_was_there_before_leaves_the_pool_its_workers(
    world: OperatorWorld,
) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "early"}
    await make(
        world,
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "early", "namespace": world.namespace},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3},
        },
    )
    await world.pool("early", **SWIFT, minReplicas=2)
    await degraded(world, "early", "ForeignAutoscaler")
    await deployment_until(world, "early", lambda found: found["spec"]["replicas"] == 2)


async def test_a_deployment_that_another_operator_keeps_is_left_to_it(world: OperatorWorld) -> None:
    await at_zero(world, "shared")
    mark = "tidegate.dev/operator"
    await world.kubectl("annotate", "deployment", "shared", f"{mark}=else/where", "--overwrite")
    assert "else/where" in await degraded(world, "shared", "KeptByAnother")
    await world.put_jobs("shared", 14)
    await at_zero(world, "witness")
    await world.put_jobs("witness", 14)
    await world.until("witness", lambda pool: pool["status"]["replicas"] == 2)
    assert await world.replicas("shared") == 0
    # As the condition says.
    await world.kubectl("annotate", "deployment", "shared", f"{mark}-")
    await world.until("shared", lambda pool: pool["status"]["replicas"] == 2)


@pytest.mark.parametrize("late", [False, True], ids=["from the beginning", "later"])
async def test_a_misspelt_field_of_a_template_is_told_until_it_is_mended(
    world: OperatorWorld, late: bool
) -> None:
    """Kubernetes refuses it in two ways: a create by 400, an apply by 500."""
    name = f"typo-{late}".lower()
    if late:
        await at_zero(world, name)
    await world.pool(name, **SWIFT, template={"spec": {"tolerationz": []}})
    assert "tolerationz" in await degraded(world, name, "Refused")
    await world.pool(name, **SWIFT, template={"spec": {"tolerations": []}})
    await world.until(name, lambda pool: reason(pool, "Ready") == "ScaledToZero")


@asynccontextmanager
async def older_crd(world: OperatorWorld) -> AsyncIterator[None]:
    """A CRD that lets what the law of today does not be stored, until the end."""
    objects = await rendered(world.cluster, world.namespace)
    crd = next(each for each in objects if each["kind"] == "CustomResourceDefinition")
    older = copy.deepcopy(crd)
    (version,) = older["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["x-kubernetes-validations"]
    await world.cluster.apply([older])
    try:
        yield
    finally:
        await world.cluster.apply([crd])


async def test_a_pool_that_says_what_cannot_be_stops_no_other(world: OperatorWorld) -> None:
    async with older_crd(world):
        await stored(world, "absurd", minReplicas=5, maxReplicas=2)
    message = await degraded(world, "absurd", "InvalidSpec")
    assert "minReplicas is above maxReplicas" in message
    assert await world.get("deployment", "absurd") is None
    await at_zero(world, "sane")
    await world.put_jobs("sane", 14)
    await world.until("sane", lambda pool: pool["status"]["replicas"] == 2)
    # What it says now is stored under the law of today.
    await world.pool("absurd", **SWIFT, minReplicas=0, maxReplicas=2)
    await world.until("absurd", lambda pool: reason(pool, "Ready") == "ScaledToZero")


async def stored(world: OperatorWorld, name: str, **spec: Any) -> None:
    """Makes a pool, as soon as the API server goes by the CRD that lets it."""
    for _ in range(100):
        try:
            await world.pool(name, **spec)
        except CommandError as error:
            if "minReplicas" not in str(error):
                raise
        else:
            return
    raise AssertionError("the older CRD does not come into force")


async def test_a_queue_that_no_gateway_routes_to_is_told_until_one_does(
    world: OperatorWorld,
) -> None:
    await world.pool("typo", **SWIFT)
    assert "name it in the routes file" in await degraded(world, "typo", "NoRoute")
    await world.route("typo")
    await world.put_jobs("typo", 1)
    await world.until("typo", lambda pool: reason(pool, "Degraded") == "AllIsWell")


async def test_a_write_that_kubernetes_refuses_is_told_in_its_words(world: OperatorWorld) -> None:
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    await make(world, quota)
    await world.pool("refused", **SWIFT)
    try:
        message = await degraded(world, "refused", "Refused")
    finally:
        await world.kubectl("delete", "quota", "none")
    assert "quota" in message
    await world.until("refused", lambda pool: reason(pool, "Ready") == "ScaledToZero")


async def test_an_outage_of_the_provider_adds_no_pods(world: OperatorWorld) -> None:
    await world.route("outage")
    await at_zero(world, "outage")
    await world.kubectl("scale", "wp", "outage", "--replicas=1")
    await world.until("outage", lambda pool: pool["status"]["replicas"] == 1)
    async with telling(world, "outage", blocked=True):
        await world.put_jobs("outage", _MANY)
        await world.until("outage", lambda pool: pool["status"].get("waiting") == _MANY)
        unpin = '[{"op": "remove", "path": "/spec/replicas"}]'
        await world.kubectl("patch", "wp", "outage", "--type=json", "--patch", unpin)
        pool = await world.until(
            "outage", lambda pool: pool["status"]["limiter"] == "ProviderOutage"
        )
        assert pool["status"]["replicas"] == pool["status"]["desiredReplicas"] == 1
        assert "No provider" in await degraded(world, "outage", "ProviderOutage")
    async with telling(world, "outage"):
        pool = await world.until("outage", lambda pool: pool["status"]["replicas"] == 10)
    assert await changes(world, "outage") == ["0 to 1", "1 to 10"]
