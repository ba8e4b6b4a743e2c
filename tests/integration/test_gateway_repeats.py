"""A request id is one job, whatever happens between the look for it and the write."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tests.support.gateway_world import CHAT, TENANT, GatewayWorld, until
from tests.support.log_world import LogPeer, completed, connected
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.keyring import Caller
from tidegate.contracts.chat import parse_chat
from tidegate.contracts.errors import FailedPrecondition, RequestIdConflict
from tidegate.contracts.events import JobState
from tidegate.contracts.jobs import QueuedJob, job_id_for
from tidegate.eventlog import orphan
from tidegate.eventlog.lookup import find_job
from tidegate.gateway.creation import CreateLimits, Creator, NewJob
from tidegate.gateway.limits import Admission
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.providers.routes_parse import load_routes

CALLER = Caller(TENANT, "key")
JOB_ID = job_id_for(TENANT, "r-1")

Meanwhile = Callable[[], Awaitable[None]]


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


class PausingAdmission(Admission):
    """Lets something happen where a create waits between its look and its write."""

    meanwhile: Meanwhile | None = None
    counted = 0

    async def admit(self, tenant: str, queue: str, job_class: str) -> None:
        await super().admit(tenant, queue, job_class)
        if self.meanwhile is not None:
            await self.meanwhile()

    def admitted(self, tenant: str, queue: str, job_class: str) -> None:
        super().admitted(tenant, queue, job_class)
        self.counted += 1


class Creating:
    """A gateway's creates over a connection; `heard` are the jobs that its reaper was told of."""

    def __init__(self, peer: LogPeer, tmp_path: Path) -> None:
        metrics = GatewayMetrics(CollectorRegistry())
        routes = load_routes(tmp_path / "routes.yaml")
        self.heard: list[tuple[str, int]] = []
        self.admission = PausingAdmission(
            peer.jetstream,
            max_waiting=100,
            max_in_flight=100,
            clock=time.monotonic,
        )
        self._creator = Creator(
            peer.jetstream,
            lambda: routes,
            self.admission,
            limits=CreateLimits(default_ttl=60, max_ttl=600, settle=15),
            max_payload=lambda: peer.client.max_payload,
            on_accepted=self._hear,
            metrics=metrics,
            clock=time.time,
        )

    async def create(self, said: str, request_id: str = "r-1") -> Any:
        chat = CHAT | {"messages": [{"role": "user", "content": said}]}
        return await self._creator.create(
            CALLER, NewJob(parse_chat(msgspec.json.encode(chat)), request_id)
        )

    def _hear(self, job: QueuedJob, created_ms: int) -> None:
        self.heard.append((job.id, created_ms))


async def run_and_acknowledge(world: GatewayWorld) -> None:
    """What a worker does with the job of the request id, to the end."""
    await (await world.worker_plays(JOB_ID)).seal(completed())
    found = await find_job(world.peer.jetstream, TENANT, JOB_ID)
    assert found is not None
    await orphan.take_from_queue(world.peer.jetstream, found.queue_sequence)


def let_another_go_first(creating: Creating, world: GatewayWorld, *, deleted: bool = False) -> None:
    """Has the next create wait while another of its request id is made and run to its end."""

    async def first() -> None:
        creating.admission.meanwhile = None
        await creating.create("hi")
        await run_and_acknowledge(world)
        if deleted:
            async with world.http.delete(f"/v1/jobs/{JOB_ID}") as response:
                assert response.status == 204

    creating.admission.meanwhile = first


async def test_a_job_that_ended_meanwhile_is_the_answer(
    world: GatewayWorld, tmp_path: Path
) -> None:
    """Its message has left the queue, so that nothing refuses the second: it is not 'queued'."""
    creating = Creating(world.peer, tmp_path)
    let_another_go_first(creating, world)
    job = await creating.create("hi")
    assert (job.id, job.state, job.last_sequence) == (JOB_ID, JobState.COMPLETED, 2)
    assert len(creating.heard) == creating.admission.counted == 1


async def test_another_body_than_that_of_a_job_that_ended_meanwhile_is_refused(
    world: GatewayWorld, tmp_path: Path
) -> None:
    creating = Creating(world.peer, tmp_path)
    let_another_go_first(creating, world)
    with pytest.raises(RequestIdConflict):
        await creating.create("another")
    # What was stored in vain is told apart from the job, though nobody has acknowledged it yet.
    assert (await creating.create("hi")).state is JobState.COMPLETED
    with pytest.raises(RequestIdConflict):
        await creating.create("another")


async def test_the_id_of_a_job_that_was_deleted_meanwhile_stays_taken(
    world: GatewayWorld, tmp_path: Path
) -> None:
    creating = Creating(world.peer, tmp_path)
    let_another_go_first(creating, world, deleted=True)
    with pytest.raises(FailedPrecondition):
        await creating.create("hi")


@pytest.mark.parametrize("request_id", ["", "r-1"])
async def test_a_create_settled_late_is_known_to_the_reaper_and_counted(
    world: GatewayWorld, nats_server: NatsServer, tmp_path: Path, request_id: str
) -> None:
    """A short-lived job would otherwise expire late, and the tenant's bound be overrun."""
    async with (
        TcpProxy(nats_server.port) as proxy,
        connected(f"nats://127.0.0.1:{proxy.port}", timeout_seconds=0.3) as peer,
    ):
        creating = Creating(peer, tmp_path)

        async def acknowledgements_are_lost() -> None:
            proxy.swallow(Way.DOWN)

        creating.admission.meanwhile = acknowledgements_are_lost
        create = asyncio.create_task(creating.create("hi", request_id))

        async def stored() -> bool:
            return await world.waiting() == 1

        await until(stored)
        proxy.cut()
        job = await create
    kept = await find_job(world.peer.jetstream, TENANT, job.id)
    assert kept is not None
    assert creating.heard == [(job.id, kept.summary.created_ms)]
    assert creating.admission.counted == 1


async def test_a_connection_lost_after_the_write_never_denies_what_is_stored(
    world: GatewayWorld, nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write was acknowledged; the look after it was not even sent."""
    async with (
        TcpProxy(nats_server.port) as proxy,
        connected(f"nats://127.0.0.1:{proxy.port}") as peer,
    ):
        creating = Creating(peer, tmp_path)
        publish = JetStream.publish

        async def publish_and_lose(self: JetStream, *arguments: Any) -> int:
            sequence = await publish(self, *arguments)
            monkeypatch.undo()
            proxy.cut()
            return sequence

        monkeypatch.setattr(JetStream, "publish", publish_and_lose)
        job = await creating.create("hi")
    assert (job.id, job.state) == (JOB_ID, JobState.QUEUED)
    assert await world.waiting() == 1
