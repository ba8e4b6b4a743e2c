"""Two replicas of the operator, of which one acts: what a pool's owner would lose by a change.

Both are processes with the service account that ships, on a real API server; they are killed,
frozen and cut off for real.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.bed.cluster import Cluster
from tests.cluster.api_door import ApiDoor
from tests.cluster.history import Admin, History
from tests.cluster.operator_world import Object, Operator, OperatorWorld, condition, until
from tests.cluster.struck_pools import JOBS_FOR_FIVE, STRICT, asleep, at_five, until_replicas
from tests.support.tcp_proxy import TcpProxy
from tidegate.chassis.kubernetes_api import ConflictError, KubernetesApi
from tidegate.chassis.settings import PodSettings
from tidegate_operator.lease import Term
from tidegate_operator.names import EPOCH_ANNOTATION
from tidegate_operator.paths import DEPLOYMENTS, POOLS
from tidegate_operator.registry import Key
from tidegate_operator.writes import Writer

_LEASE: Final = "leases.coordination.k8s.io"
# The shortest that may be set; what holds of it holds of the longer one that ships.
_SHORT: Final = {"TIDEGATE_OPERATOR_LEASE_SECONDS": "5"}


@pytest.fixture
async def world(bed: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[OperatorWorld]:
    async with OperatorWorld(bed, namespace, tmp_path) as world:
        yield world


@pytest.fixture
async def admin(bed: Cluster) -> AsyncIterator[Admin]:
    async with Admin(bed.kubeconfig) as admin:
        yield admin


async def pair(world: OperatorWorld, **settings: str) -> tuple[Operator, Operator]:
    """Two replicas; the first leads, and the second is ready to."""
    first = await world.leader(**settings)
    second = await world.operator(**settings)
    await second.until_ready()
    assert not second.leads
    return first, second


async def until_epoch_of(world: OperatorWorld, leader: Operator, name: str = "chat") -> Object:
    """The Deployment, once this leader has written it."""
    epoch = epoch_of(leader)
    end = time.monotonic() + 60.0
    while True:
        found = await world.get("deployment", name)
        if found is not None and found["metadata"]["annotations"][EPOCH_ANNOTATION] == epoch:
            return found
        assert time.monotonic() < end, f"never written by {epoch}: {found}"
        await asyncio.sleep(0.1)


def said(operator: Operator, event: str) -> list[Object]:
    return [line for line in operator.lines if line["event"] == event]


def tell(text: str) -> None:
    """A figure, for whoever runs this with `-s`."""
    sys.stderr.write(f"\n{text}\n")


async def test_one_leads_and_both_are_ready(world: OperatorWorld) -> None:
    first, second = await pair(world)
    await first.until_ready()
    leading = [
        line
        for operator in (first, second)
        for line in (await operator.page("/metrics"))[1].splitlines()
        if line.startswith("tidegate_operator_leading ")
    ]
    assert leading == ["tidegate_operator_leading 1.0", "tidegate_operator_leading 0.0"]


async def test_kill_9_of_the_leader_is_made_up_for_and_changes_no_replicas(
    world: OperatorWorld, admin: Admin
) -> None:
    first, second = await pair(world)
    await at_five(world)
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        killed = time.monotonic()
        first.send(signal.SIGKILL)
        await until(lambda: second.leads, "nobody took over")
        tell(f"kill -9: another leads after {time.monotonic() - killed:.1f} s")
        await until_epoch_of(world, second)
        tell(f"kill -9: it has seen to the pool after {time.monotonic() - killed:.1f} s")
        assert history.replicas("chat") == [5]
        await world.put_jobs("chat", 300)
        await until_replicas(world, 8)


async def test_sigterm_of_the_leader_hands_over_at_once(world: OperatorWorld, admin: Admin) -> None:
    first, second = await pair(world, TIDEGATE_OPERATOR_LEASE_SECONDS="60")
    await at_five(world)
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        asked = time.monotonic()
        assert await first.stop() == 0
        await until(lambda: second.leads, "nobody took over", within=30.0)
        tell(f"SIGTERM: another leads after {time.monotonic() - asked:.1f} s, of a lease of 60 s")
        await until_epoch_of(world, second)
        assert history.replicas("chat") == [5]
    lease = (await world.get(_LEASE, "tidegate-operator") or {})["spec"]
    assert lease["leaseTransitions"] == 1


async def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes(
    world: OperatorWorld, admin: Admin, tmp_path: Path
) -> None:
    """It fell asleep over a burst, of which it hears when all has been decided otherwise."""
    async with ApiDoor(world.environ, tmp_path) as door:
        first = await world.leader(**_SHORT, **door.environ)
        second = await world.operator(**_SHORT)
        await second.until_ready()
        await asleep(world)
        first.send(signal.SIGSTOP)
        await world.put_jobs("chat", JOBS_FOR_FIVE)
        await until(lambda: second.leads, "nobody took over")
        await until_replicas(world, 5)
        await world.pool("chat", **(STRICT | {"replicas": 2}))
        await until_replicas(world, 2)
        async with (
            admin.history(DEPLOYMENTS, world.namespace) as deployments,
            admin.history(POOLS, world.namespace) as pools,
        ):
            before = len(door.passed)
            first.send(signal.SIGCONT)
            assert await first.ended() == 1
            # The history has all that was written until now once it has this.
            await world.kubectl("annotate", "deployment", "chat", "tidegate.dev/seen=1")
            await until(lambda: _is_seen(deployments), "the history is behind")
        assert [asked for asked, _ in door.passed[before:] if asked.is_write] == []
    assert [line["level"] for line in said(first, "fault")] == ["error"]
    assert said(first, "scaled") == []
    assert epochs_of(deployments) == {epoch_of(second)}
    assert deployments.replicas("chat") == [2]
    assert {each.body["status"]["desiredReplicas"] for each in pools.changes} == {2}


def epoch_of(leader: Operator) -> str:
    (line,) = said(leader, "leading")
    return str(line["epoch"])


def epochs_of(history: History) -> set[str]:
    return {each.body["metadata"]["annotations"][EPOCH_ANNOTATION] for each in history.changes}


def _is_seen(history: History) -> bool:
    return any(
        "tidegate.dev/seen" in each.body["metadata"]["annotations"] for each in history.changes
    )


async def test_a_write_that_was_under_way_when_its_leader_froze_is_refused(
    world: OperatorWorld, admin: Admin, tmp_path: Path
) -> None:
    """It has left the process, so that no look at a clock can stop it: its version is too old."""
    async with ApiDoor(world.environ, tmp_path) as door:
        first = await world.leader(**_SHORT, **door.environ)
        second = await world.operator(**_SHORT)
        await second.until_ready()
        await asleep(world)
        door.hold(lambda asked: asked.is_write and "/deployments/" in asked.path)
        await world.put_jobs("chat", JOBS_FOR_FIVE)
        await until(lambda: door.held, "nothing was written")
        first.send(signal.SIGSTOP)
        # The owner thinks otherwise meanwhile, and the new leader heeds it.
        await world.pool("chat", **(STRICT | {"replicas": 1}))
        await until(lambda: second.leads, "nobody took over")
        await until_epoch_of(world, second)
        await until_replicas(world, 1)
        async with admin.history(DEPLOYMENTS, world.namespace) as history:
            passed = len(door.passed)
            door.release()
            await until(
                lambda: [one for one in door.passed[passed:] if "/deployments/" in one[0].path],
                "what was held back was not sent",
            )
            answers = [status for asked, status in door.passed[passed:] if asked.is_write]
            assert answers == [409]
            first.send(signal.SIGCONT)
            assert await first.ended() == 1
            assert history.replicas("chat") == [1]


async def test_a_term_that_lasts_too_long_is_stopped_by_the_version(
    world: OperatorWorld,
) -> None:
    """The fence itself: a replica that believes it leads, on what another leader has written."""
    leader = await world.leader()
    await world.pool("chat", minReplicas=2)
    await until_replicas(world, 2)
    old_pool, old = await world.get("workerpool", "chat"), await world.get("deployment", "chat")
    assert old_pool is not None
    assert old is not None
    await leader.stop()
    await until_epoch_of(world, await world.leader())
    settings = PodSettings(
        kubernetes_service_host=world.environ["KUBERNETES_SERVICE_HOST"],
        kubernetes_service_port=int(world.environ["KUBERNETES_SERVICE_PORT"]),
        service_account_directory=Path(world.environ["SERVICE_ACCOUNT_DIRECTORY"]),
    )
    async with KubernetesApi(settings) as api:
        believes = Term("0-former", float("inf"), time.monotonic)
        writer = Writer(api, lambda: believes, identity="former")
        manifest = {name: old[name] for name in ("apiVersion", "kind", "spec")}
        manifest["metadata"] = {"name": "chat", "namespace": world.namespace}
        manifest["spec"]["replicas"] = 5
        with pytest.raises(ConflictError):
            await writer.put(DEPLOYMENTS, Key(world.namespace, "chat"), manifest, old)
        await world.kubectl("annotate", "workerpool", "chat", "tidegate.dev/dryRun=true")
        with pytest.raises(ConflictError):
            await writer.status(old_pool, {"desiredReplicas": 5})
    assert await world.replicas("chat") == 2


async def test_a_new_leader_leaves_no_deployment_in_a_version_that_an_old_one_knows(
    world: OperatorWorld,
) -> None:
    names = [f"queue{number}" for number in range(5)]
    leader = await world.leader()
    for name in names:
        await world.pool(name)
    for name in names:
        await world.until(name, lambda pool: condition(pool, "Ready")["status"] == "True")
    before = {name: await world.get("deployment", name) or {} for name in names}
    await leader.stop()
    second = await world.leader()
    for name in names:
        after = await until_epoch_of(world, second, name)
        versions = [each["metadata"]["resourceVersion"] for each in (before[name], after)]
        assert versions[0] != versions[1]
        # Nothing else is another: no pod is started anew by a change of leaders.
        assert after["spec"] == before[name]["spec"]


async def test_a_leader_that_cannot_reach_the_api_stops_and_another_leads_once_it_is_back(
    world: OperatorWorld, admin: Admin
) -> None:
    async with TcpProxy(int(world.environ["KUBERNETES_SERVICE_PORT"])) as proxy:
        cut_off = {"KUBERNETES_SERVICE_PORT": str(proxy.port)}
        first = await world.leader(**_SHORT, **cut_off)
        await at_five(world)
        async with admin.history(DEPLOYMENTS, world.namespace) as history:
            proxy.refusing = True
            proxy.cut()
            await world.put_jobs("chat", 300)
            assert await first.ended() == 1
            assert said(first, "fault")
            # As the kubelet starts it again, while the API is away still.
            second = await world.operator(**_SHORT, **cut_off)
            async with asyncio.timeout(30.0):
                while "api-server" not in (await second.page("/readyz"))[1]:
                    await asyncio.sleep(0.1)
            assert history.replicas("chat") == [5]
            proxy.refusing = False
            await until(lambda: second.leads, "nobody leads")
            await until_replicas(world, 8)
            assert history.replicas("chat") == [5, 8]
