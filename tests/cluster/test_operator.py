"""Pools, kept by the operator on a real control plane: how many workers there are, and when."""

import re
import statistics
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.bed.cluster import Cluster
from tests.cluster.operator_world import Object, OperatorWorld, condition
from tests.cluster.pool_life import (
    SWIFT,
    answer,
    at_zero,
    changes,
    deployment_until,
    following,
    kept_world,
    reason,
    take_all,
    telling,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
BURSTS = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperatorWorld]:
    async with kept_world(control_plane, tmp_path_factory.mktemp("world")) as world:
        await control_plane.add_nodes(2)
        yield world


async def test_a_burst_at_zero_is_met_by_one_decision(world: OperatorWorld) -> None:
    await world.pool("chat", maxReplicas=6, concurrency=8)
    await world.until("chat", lambda pool: condition(pool, "Ready")["status"] == "True")
    assert await world.replicas("chat") == 0
    await world.put_jobs("chat", 100)
    await world.until("chat", lambda pool: pool["status"]["replicas"] > 0)
    assert await changes(world, "chat") == ["0 to 6"]


async def test_a_burst_is_met_before_anybody_has_waited_for_long(
    world: OperatorWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"burst-{number}" for number in range(BURSTS)]
    for name in names:
        await world.pool(name, **SWIFT, maxReplicas=5)
    for name in names:
        await world.until(name, lambda pool: reason(pool, "Ready") == "ScaledToZero")
    seconds = []
    async with following(world, "deployments", "{.metadata.name} {.spec.replicas}") as lines:
        for name in names:
            began = time.monotonic()
            await world.put_jobs(name, 50)
            await lines.until(f"{name} 5")
            seconds.append(time.monotonic() - began)
    middle, worst = statistics.median(seconds), max(seconds)
    with capsys.disabled():
        told = f"p50 {middle:.2f} s, worst {worst:.2f} s of {BURSTS} bursts"
        print(f"\nfrom the first job at zero to the Deployment's replicas: {told}")
    await world.kubectl("delete", "wp", *names)


async def test_the_status_says_how_a_pool_stands(world: OperatorWorld) -> None:
    await world.route("told")
    made = await at_zero(world, "told")
    assert (reason(made, "Active"), reason(made, "Degraded")) == ("Idle", "AllIsWell")
    await world.put_jobs("told", 21)
    pool = await world.until("told", lambda pool: pool["status"]["readyReplicas"] == 3)
    status = pool["status"]
    assert status["observedGeneration"] == pool["metadata"]["generation"]
    assert (status["replicas"], status["desiredReplicas"]) == (3, 3)
    assert (status["queueDepth"], status["waiting"], status["running"]) == (21, 21, 0)
    assert status["oldestSeconds"] >= 0
    assert status["limiter"] == "Useful"
    assert status["lastScaleTime"]
    told = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert told == {
        "Ready": ("True", "Available"),
        "Active": ("True", "JobsWait"),
        "Degraded": ("False", "AllIsWell"),
        "Paused": ("False", "NotPaused"),
    }
    for each in status["conditions"]:
        assert each["observedGeneration"] == pool["metadata"]["generation"]
        assert each["lastTransitionTime"] >= pool["metadata"]["creationTimestamp"]
    pods = await world.cluster.find("pods", world.namespace, status["selector"])
    assert len(pods) == 3


async def test_an_event_says_from_where_to_where_and_why(world: OperatorWorld) -> None:
    await at_zero(world, "why")
    await world.put_jobs("why", 14)
    pool = await world.until("why", lambda pool: pool["status"]["replicas"] == 2)
    (event,) = [each for each in await world.events("why") if each["reason"] == "ScaledOut"]
    said = r"From 0 to 2: 14 wait, the oldest [\d.]+ s(; .*)?: 2 replicas, for more would .*"
    assert re.fullmatch(said, event["message"])
    assert event["involvedObject"]["uid"] == pool["metadata"]["uid"]
    assert (event["type"], event["source"]["component"]) == ("Normal", "tidegate-operator")
    described = await world.kubectl("describe", "wp", "why")
    assert "ScaledOut" in described


async def test_all_pods_go_once_every_job_is_done(world: OperatorWorld) -> None:
    await at_zero(world, "done")
    await world.put_jobs("done", 21)
    await world.until("done", lambda pool: pool["status"]["replicas"] == 3)
    await answer(await take_all(world, "done", 21))
    pool = await world.until("done", lambda pool: reason(pool, "Ready") == "ScaledToZero")
    assert reason(pool, "Active") == "Idle"
    assert await world.replicas("done") == 0
    assert (await changes(world, "done"))[-1].endswith("to 0")


async def test_no_job_that_is_held_loses_its_slot(world: OperatorWorld) -> None:
    await at_zero(world, "held")
    await world.put_jobs("held", 28)
    await world.until("held", lambda pool: pool["status"]["replicas"] == 4)
    async with telling(world, "held") as held:
        held.extend(await take_all(world, "held", 28))
        for _ in range(8):
            await answer([held.pop()])
        await world.until("held", lambda pool: pool["status"]["replicas"] == 3)
        for _ in range(16):
            await answer([held.pop()])
        await world.until("held", lambda pool: pool["status"]["replicas"] == 1)
        pool = await world.until("held", lambda pool: pool["status"].get("running") == 4)
        assert reason(pool, "Active") == "JobsRun"
        while held:
            await answer([held.pop()])
        await world.until("held", lambda pool: pool["status"]["replicas"] == 0)
    assert await changes(world, "held") == ["0 to 4", "4 to 3", "3 to 1", "1 to 0"]


def having(replicas: int) -> Callable[[Object], bool]:
    return lambda pool: bool(pool["status"]["replicas"] == replicas)


async def test_a_maximum_that_is_edited_rules_at_once(world: OperatorWorld) -> None:
    await at_zero(world, "edited", maxReplicas=3)
    await world.put_jobs("edited", 70)
    for most in (3, 5, 2):
        await world.pool("edited", **SWIFT, maxReplicas=most)
        pool = await world.until("edited", having(most))
        assert pool["status"]["limiter"] == "MaxReplicas"
    assert await changes(world, "edited") == ["0 to 3", "3 to 5", "5 to 2"]


async def test_kubectl_scale_pins_a_pool_until_the_pin_is_taken_off(world: OperatorWorld) -> None:
    await at_zero(world, "pinned")
    await world.kubectl("scale", "wp", "pinned", "--replicas=2")
    pool = await world.until("pinned", lambda pool: pool["status"]["replicas"] == 2)
    assert pool["status"]["limiter"] == "Pinned"
    unpin = '[{"op": "remove", "path": "/spec/replicas"}]'
    await world.kubectl("patch", "wp", "pinned", "--type=json", "--patch", unpin)
    await world.until("pinned", lambda pool: pool["status"]["replicas"] == 0)


async def test_nothing_is_written_to_a_paused_pool(world: OperatorWorld) -> None:
    await at_zero(world, "paused")
    before = await deployment_until(world, "paused", lambda _: True)
    await world.kubectl("annotate", "wp", "paused", "tidegate.dev/paused=true")
    await world.put_jobs("paused", 21)
    pool = await world.until("paused", lambda pool: pool["status"]["desiredReplicas"] == 3)
    assert reason(pool, "Paused") == "PausedByAnnotation"
    assert reason(pool, "Ready") == "NotApplied"
    after = await deployment_until(world, "paused", lambda _: True)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert await changes(world, "paused") == []
    await world.kubectl("annotate", "wp", "paused", "tidegate.dev/paused-")
    pool = await world.until("paused", lambda pool: pool["status"]["replicas"] == 3)
    assert condition(pool, "Paused")["status"] == "False"


async def test_a_dry_run_says_what_it_would_do(world: OperatorWorld) -> None:
    await at_zero(world, "dry")
    await world.kubectl("annotate", "wp", "dry", "tidegate.dev/dryRun=true")
    await world.put_jobs("dry", 21)
    pool = await world.until("dry", lambda pool: pool["status"]["desiredReplicas"] == 3)
    assert reason(pool, "Paused") == "DryRunByAnnotation"
    assert await world.replicas("dry") == 0
    told = [each["message"] for each in await world.events("dry")]
    assert [each[:35] for each in told] == ["From 0 to 3, were it no dry run: 21"]


async def test_a_deployment_that_a_person_scales_is_scaled_back(world: OperatorWorld) -> None:
    await at_zero(world, "scaled")
    await world.kubectl("scale", "deployment", "scaled", "--replicas=7")
    await deployment_until(world, "scaled", lambda found: found["spec"]["replicas"] == 0)
    assert await changes(world, "scaled") == ["7 to 0"]
