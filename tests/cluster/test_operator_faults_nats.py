"""What the operator does while NATS is away, or is not what it was: nothing wrong.

Servers are killed and frozen for real, and streams are deleted.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Self

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client

from tests.bed.cluster import Cluster
from tests.cluster.history import Admin
from tests.cluster.operator_world import Object, OperatorWorld, condition
from tests.cluster.struck_pools import (
    JOBS_FOR_FIVE,
    STRICT,
    at_five,
    until_degraded,
    until_replicas,
    until_well,
)
from tests.support.nats_rights import server_with_rights
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.subjects import JOBS_STREAM, consumer_name
from tidegate.eventlog.streams import StreamOptions, stream_configs
from tidegate_operator.paths import DEPLOYMENTS


@pytest.fixture
async def world(bed: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[OperatorWorld]:
    async with OperatorWorld(bed, namespace, tmp_path) as world:
        yield world


@pytest.fixture
async def admin(bed: Cluster) -> AsyncIterator[Admin]:
    async with Admin(bed.kubeconfig) as admin:
        yield admin


async def kill(server: NatsServer) -> None:
    await server.kill()


async def freeze(server: NatsServer) -> None:
    server.freeze()


async def start(server: NatsServer) -> None:
    await server.start()


async def thaw(server: NatsServer) -> None:
    server.thaw()


Blow = Callable[[NatsServer], Awaitable[None]]


@pytest.mark.parametrize(("blow", "heal"), [(kill, start), (freeze, thaw)])
async def test_without_nats_replicas_are_held_and_the_pool_says_why(
    world: OperatorWorld, admin: Admin, blow: Blow, heal: Blow
) -> None:
    operator = await world.leader()
    await at_five(world)
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        await blow(world.nats)
        pool = await until_degraded(world, "NatsUnreachable")
        assert "5 replicas until it can be seen" in condition(pool, "Degraded")["message"]
        assert "queueDepth" not in pool["status"]
        await heal(world.nats)
        await until_well(world)
        assert history.replicas("chat") == [5]
        await world.put_jobs("chat", 300)
        await until_replicas(world, 8)
    assert operator.running


async def test_an_operator_that_starts_without_nats_holds_what_it_finds(
    world: OperatorWorld, admin: Admin
) -> None:
    first = await world.leader()
    await at_five(world)
    await first.stop()
    await world.nats.stop()
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        await world.leader()
        await until_degraded(world, "NatsUnreachable")
        # A pool that is new then gets what it has at least.
        await world.pool("code", minReplicas=2)
        await until_replicas(world, 2, "code")
        await world.nats.start()
        await until_well(world)
        await until_well(world, "code")
        assert history.replicas("chat") == [5]
        await world.put_jobs("chat", 300)
        await until_replicas(world, 8)


async def test_without_the_stream_replicas_are_held_until_it_is_there_again(
    world: OperatorWorld, admin: Admin
) -> None:
    await world.leader()
    await at_five(world)
    async with admin.history(DEPLOYMENTS, world.namespace) as history:
        client = await nats.connect(world.nats.url)
        await client.jetstream().delete_stream(JOBS_STREAM)
        await until_degraded(world, "StreamMissing")
        assert history.replicas("chat") == [5]
        await world.make_streams()
        # Its jobs are gone with it, and its consumers, which are made anew.
        await until_replicas(world, 0)
        await until_well(world)
        await world.put_jobs("chat", JOBS_FOR_FIVE)
        await until_replicas(world, 5)
        await client.close()


async def test_a_purged_stream_is_an_empty_queue(world: OperatorWorld) -> None:
    await world.leader()
    await at_five(world)
    client = await nats.connect(world.nats.url)
    await client.jetstream().purge_stream(JOBS_STREAM)
    await until_replicas(world, 0)
    await world.put_jobs("chat", JOBS_FOR_FIVE)
    await until_replicas(world, 5)
    await client.close()


class ThreeServers(OperatorWorld):
    """The same with three nats-servers, and all streams on each; it starts the first of them."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path) -> None:
        super().__init__(cluster, namespace, directory)
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            server_with_rights(
                directory,
                more=f"""
                server_name: nats-{number}
                cluster {{ name: three, no_advertise: true
                    listen: "127.0.0.1:{port}", routes: [{routes}] }}
                """,
            )
            for number, port in enumerate(ports)
        ]
        self.nats = self.servers[0]

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        urls = ",".join(f"nats://{server.address}" for server in self.servers)
        self.environ["TIDEGATE_NATS_URL"] = urls
        return self

    async def make_streams(self) -> None:
        """Once the servers have found each other."""
        for config in stream_configs(StreamOptions(replicas=3)):
            async with asyncio.timeout(60.0):
                while not await self._is_made(config):
                    await asyncio.sleep(0.2)

    async def _is_made(self, config: Object) -> bool:
        try:
            answer = await self._request(f"STREAM.CREATE.{config['name']}", config)
        except (nats.errors.Error, TimeoutError):
            return False
        return "error" not in answer


@pytest.fixture
async def three(bed: Cluster, namespace: str, tmp_path: Path) -> AsyncIterator[ThreeServers]:
    world = ThreeServers(bed, namespace, tmp_path)
    async with AsyncExitStack() as stack:
        for server in world.servers[1:]:
            await stack.enter_async_context(server)
        yield await stack.enter_async_context(world)


async def step_down(client: Client, seconds: float, *queues: str) -> int:
    """Has the leaders of the stream and of these queues' consumers change; how often they did."""
    consumers = [consumer_name(queue, each) for queue in queues for each in JobClass]
    asked = [f"CONSUMER.LEADER.STEPDOWN.{JOBS_STREAM}.{consumer}" for consumer in consumers]
    asked.append(f"STREAM.LEADER.STEPDOWN.{JOBS_STREAM}")
    end, count = time.monotonic() + seconds, 0
    for subject in itertools.cycle(asked):
        if time.monotonic() > end:
            return count
        with suppress(nats.errors.Error, TimeoutError):
            answer = await client.request(f"$JS.API.{subject}", b"", timeout=2)
            count += b'"success":true' in answer.data
        await asyncio.sleep(0.1)
    return count


async def work(world: OperatorWorld, queue: str) -> None:
    """Puts jobs and takes them, again and again, whatever fails meanwhile."""
    while True:
        with suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
            await world.put_jobs(queue, 5)
            for message in await world.take_jobs(queue, 5):
                await message.ack()
        await asyncio.sleep(0.05)


async def test_leaders_of_jetstream_that_step_down_again_and_again_bring_no_wrong_decision(
    three: ThreeServers, admin: Admin
) -> None:
    """In one queue jobs wait and nobody takes them, so that one number alone is right."""
    operator = await three.leader()
    await at_five(three)
    await three.pool("busy", **(STRICT | {"minReplicas": 1, "maxReplicas": 3}))
    await until_replicas(three, 1, "busy")
    client = await nats.connect([server.url for server in three.servers])
    async with admin.history(DEPLOYMENTS, three.namespace) as history:
        working = asyncio.create_task(work(three, "busy"))
        steps = await step_down(client, 20.0, "chat", "busy")
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        assert steps > 20
        assert history.replicas("chat") == [5]
        assert set(history.replicas("busy")) <= {1, 2, 3}
        await until_well(three)
        await three.put_jobs("chat", 300)
        await until_replicas(three, 8)
        assert history.replicas("chat") == [5, 8]
    assert operator.running
    await client.close()
