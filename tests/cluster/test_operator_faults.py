"""What the operator does while something that it stands on is away, wrong or busy: nothing wrong.

The API server is killed, cut off and edited for real; what NATS does is in a module of its own.
"""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.bed.cluster import Cluster
from tests.cluster.api_door import ApiDoor, Asked
from tests.cluster.history import Admin
from tests.cluster.operator_world import OperatorWorld
from tests.cluster.struck_pools import (
    JOBS_FOR_FIVE,
    asleep,
    at_five,
    passes,
    until_degraded,
    until_replicas,
)
from tests.support.tcp_proxy import TcpProxy
from tidegate_operator.paths import DEPLOYMENTS


@pytest.fixture
async def world(bed: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[OperatorWorld]:
    async with OperatorWorld(bed, namespace, tmp_path) as world:
        yield world


@pytest.fixture
async def admin(bed: Cluster) -> AsyncIterator[Admin]:
    async with Admin(bed.kubeconfig) as admin:
        yield admin


async def test_a_restart_of_the_api_server_changes_nothing(
    world: OperatorWorld, admin: Admin
) -> None:
    # It takes its time on a small machine; what happens after a lease is another test's.
    operator = await world.leader(TIDEGATE_OPERATOR_LEASE_SECONDS="120")
    await at_five(world)
    await world.cluster.restart_api_server()
    assert await world.replicas("chat") == 5
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        await world.put_jobs("chat", 300)
        await until_replicas(world, 8)
        assert history.replicas("chat") == [5, 8]
        # What people change is heard of as before.
        await world.kubectl("scale", "workerpool", "chat", "--replicas=3")
        await until_replicas(world, 3)
    assert operator.running
    assert await passes(operator, "failed") == 0


async def test_what_ended_while_the_watch_had_expired_is_found_out(world: OperatorWorld) -> None:
    """After a restart the API server knows no events of before, and refuses to go on from there."""
    async with TcpProxy(int(world.environ["KUBERNETES_SERVICE_PORT"])) as proxy:
        operator = await world.leader(
            KUBERNETES_SERVICE_PORT=str(proxy.port), TIDEGATE_OPERATOR_LEASE_SECONDS="180"
        )
        await world.pool("chat", minReplicas=2)
        await world.pool("code")
        for name in ("chat", "code"):
            await world.until(name, lambda pool: pool["status"]["observedGeneration"] > 0)
        before = await world.get("deployment", "chat")
        proxy.refusing = True
        proxy.cut()
        await world.kubectl("delete", "deployment", "chat")
        await world.kubectl("delete", "workerpool", "code")
        await world.cluster.restart_api_server()
        proxy.refusing = False
        async with asyncio.timeout(150.0):
            while await world.replicas("chat") != 2:
                await asyncio.sleep(0.5)
            while any("code" in name for name in await world.consumers()):
                await asyncio.sleep(0.5)
        after = await world.get("deployment", "chat")
        assert before is not None
        assert after is not None
        assert before["metadata"]["uid"] != after["metadata"]["uid"]
        assert operator.running


async def test_a_watch_that_is_cut_goes_on_where_it_was(world: OperatorWorld) -> None:
    async with TcpProxy(int(world.environ["KUBERNETES_SERVICE_PORT"])) as proxy:
        operator = await world.leader(
            KUBERNETES_SERVICE_PORT=str(proxy.port), TIDEGATE_OPERATOR_LEASE_SECONDS="60"
        )
        await world.pool("chat", minReplicas=2)
        await until_replicas(world, 2)
        for _ in range(3):
            proxy.refusing = True
            proxy.cut()
            await world.kubectl("delete", "deployment", "chat")
            proxy.refusing = False
            await _until_there(world, "chat", 2)
        assert operator.running


async def test_a_watch_that_cannot_begin_ends_the_process(
    world: OperatorWorld, tmp_path: Path
) -> None:
    """Else nothing would say that the leader is deaf; another replica, or the next try, is not."""
    async with ApiDoor(world.environ, tmp_path) as door:
        # A part of what the watch asks for before all else; nobody else asks for that.
        door.answers = lambda asked: 415 if asked.path == "/apis/tidegate.dev/v1alpha1" else None
        operator = await world.operator(**door.environ)
        assert await operator.ended() == 1
        assert any(line.get("component") == "watch" for line in operator.lines)


async def test_a_leader_that_cannot_list_its_pools_says_so_until_it_can(
    world: OperatorWorld, tmp_path: Path
) -> None:
    """As where the definition of the kind, or the right to see it, is missing."""
    async with ApiDoor(world.environ, tmp_path) as door:
        door.answers = lambda asked: 403 if asked.path.endswith("/workerpools") else None
        operator = await world.leader(**door.environ)
        async with asyncio.timeout(40.0):
            while "403" not in (await operator.page("/readyz"))[1]:
                await asyncio.sleep(0.1)
        status, said = await operator.page("/readyz")
        assert status == 503
        assert "watch" in json.loads(said)["failing"]
        door.answers = lambda _: None
        await operator.until_ready()
        await asleep(world)


async def _until_there(world: OperatorWorld, name: str, replicas: int) -> None:
    async with asyncio.timeout(40.0):
        while await world.replicas(name) != replicas:
            await asyncio.sleep(0.2)


async def test_people_who_edit_all_the_time_do_not_keep_it_from_its_work(
    world: OperatorWorld,
) -> None:
    """What it decided on is another then, again and again: the API server refuses (409)."""
    operator = await world.leader()
    await asleep(world)

    async def edit() -> None:
        for number in itertools.count():
            await world.kubectl("scale", "deployment", "chat", f"--replicas={number % 3}")
            note = f"note={number}"
            await world.kubectl("annotate", "deployment", "chat", note, "--overwrite")
            await world.kubectl("annotate", "workerpool", "chat", note, "--overwrite")

    editing = asyncio.create_task(edit())
    await world.put_jobs("chat", JOBS_FOR_FIVE)
    await until_replicas(world, 5)
    async with asyncio.timeout(40.0):
        while not await passes(operator, "outdated"):
            assert not editing.done()
            await asyncio.sleep(0.1)
    editing.cancel()
    with suppress(asyncio.CancelledError):
        await editing
    await _until_there(world, "chat", 5)
    assert await passes(operator, "failed") == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_an_api_server_that_is_too_busy_for_every_third_write_is_survived(
    world: OperatorWorld, tmp_path: Path, status: int
) -> None:
    """By a door before the API server, which says so in its place."""
    numbers = itertools.count()

    def answers(asked: Asked) -> int | None:
        return status if asked.is_write and next(numbers) % 3 == 2 else None

    async with ApiDoor(world.environ, tmp_path) as door:
        door.answers = answers
        operator = await world.leader(**door.environ)
        await at_five(world)
        await at_five(world, "code")
        await world.kubectl("scale", "workerpool", "chat", "--replicas=2")
        await until_replicas(world, 2)
        assert {given for _, given in door.answered} == {status}
        assert len(door.answered) > 5
        assert operator.running
        assert await passes(operator, "failed") == 0


async def test_a_pool_of_which_no_pod_can_be_made_keeps_no_other_from_its_own(
    world: OperatorWorld,
) -> None:
    operator = await world.leader()
    worker = {"name": "worker", "resources": {"limits": {"cpu": "a lot"}}}
    await world.pool("refused", template={"spec": {"containers": [worker]}})
    taken_away = {"name": "worker", "$patch": "delete"}
    await world.pool("empty", template={"spec": {"containers": [taken_away]}})
    await until_degraded(world, "Refused", "refused")
    await until_degraded(world, "InvalidSpec", "empty")
    await at_five(world)
    assert operator.running
    assert await passes(operator, "failed") == 0


async def test_a_wrong_nats_password_ends_it_with_a_line_that_says_so(
    world: OperatorWorld,
) -> None:
    operator = await world.operator(TIDEGATE_NATS_PASSWORD="not the one")
    assert await operator.ended() == 1
    (fault,) = (line for line in operator.lines if line["event"] == "fault")
    assert fault["component"] == "nats"
    assert "Authorization Violation" in fault["reason"]
    assert "not the one" not in operator.log.read_text("utf-8")


async def test_without_the_template_of_its_pods_it_ends_and_names_the_setting(
    world: OperatorWorld, tmp_path: Path
) -> None:
    for path in (str(tmp_path / "nowhere.yaml"), ""):
        operator = await world.operator(TIDEGATE_OPERATOR_TEMPLATE_FILE=path)
        assert await operator.ended() == 2
        assert "TIDEGATE_OPERATOR_TEMPLATE_FILE" in operator.log.read_text("utf-8")


async def test_a_process_that_is_frozen_fails_its_liveness_probe(world: OperatorWorld) -> None:
    operator = await world.leader()
    url = f"{operator.health}/livez"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
        async with session.get(url) as response:
            assert response.status == 200
        operator.send(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await session.get(url)
