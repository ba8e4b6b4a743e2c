"""Full is said early, with a time to come back; what is there already needs no room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, Rpc, refused
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.v1 import jobs_pb2 as pb


def request(request_id: str = "") -> pb.CreateJobRequest:
    chat = pb.ChatRequest(model="sim-1", messages=[pb.ChatMessage(role="user", content="hi")])
    return pb.CreateJobRequest(request_id=request_id, chat=chat)


async def assert_full(world: GatewayWorld, reason: Reason, **body: Any) -> None:
    """Both surfaces refuse, and name a time below a minute."""
    async with world.http.post("/v1/jobs", json={"request": CHAT} | body) as response:
        assert response.status == 429, await response.text()
        assert 0 < int(response.headers["Retry-After"]) < 60
        assert (await response.json())["error"]["code"] == reason.lower()
    error = await refused(world.rpc.call("CreateJob", request()))
    told = from_rpc_error(error)
    assert (error.code().name, told.reason) == ("RESOURCE_EXHAUSTED", reason)
    assert told.retry_after is not None
    assert 0 < told.retry_after < 60


async def test_a_queue_at_its_bound_refuses_and_the_other_ones_go_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, max_waiting_jobs=3) as world:
        for number in range(3):
            await world.create(request_id=f"r-{number}")
        await assert_full(world, Reason.QUEUE_FULL)
        await world.create(**{"class": "batch"})
        await world.create(request=CHAT | {"model": "sim-2"})
        again = await world.create(request_id="r-1")
        assert again["state"] == "queued"
        assert await world.waiting() == 5


async def test_a_tenant_at_its_bound_is_refused_and_the_other_goes_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, max_jobs_in_flight=3) as world:
        for number in range(3):
            await world.create(request_id=f"r-{number}")
        await assert_full(world, Reason.TOO_MANY_JOBS_IN_FLIGHT, **{"class": "batch"})
        assert (await world.create(request_id="r-1"))["state"] == "queued"
        async with Rpc(world.gateway, world.stranger) as rpc:
            assert (await rpc.call("CreateJob", request())).job.id


async def test_the_bound_counts_what_other_gateways_let_in(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, max_jobs_in_flight=3) as world:
        second = await world.start_gateway()
        async with Rpc(second, world.key) as rpc:
            for _ in range(3):
                await rpc.call("CreateJob", request())
        await assert_full(world, Reason.TOO_MANY_JOBS_IN_FLIGHT)


async def test_room_that_came_free_is_used_within_a_second(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, max_waiting_jobs=1) as world:
        first = await world.create()
        await assert_full(world, Reason.QUEUE_FULL)
        async with world.http.post(f"/v1/jobs/{first['id']}/cancel") as response:
            assert response.status == 200
        accepted: list[Any] = []
        while not accepted:
            async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
                accepted += [response.status] if response.status == 202 else []


@pytest.mark.parametrize("bound", ["stream_max_jobs", "stream_max_jobs_bytes"])
async def test_a_full_stream_refuses_and_drops_nothing(
    nats_server: NatsServer, tmp_path: Path, bound: str
) -> None:
    """The last line: JetStream itself, whatever the gateways believe."""
    value = 3 if bound == "stream_max_jobs" else 2_000
    async with GatewayWorld(nats_server, tmp_path, **{bound: value}) as world:
        accepted = []
        while True:
            async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
                if response.status != 202:
                    break
                accepted.append((await response.json())["id"])
        await assert_full(world, Reason.QUEUE_FULL)
        assert await world.waiting() == len(accepted) > 0
        for job_id in accepted:
            assert (await world.get(job_id))["state"] == "queued"


async def test_counts_are_in_the_metrics(nats_server: NatsServer, tmp_path: Path) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        await world.create(request_id="r-1")
        await world.create(request_id="r-1")
        async with world.http.get(f"http://{world.gateway.health.address}/metrics") as response:
            page = await response.text()
        assert 'tidegate_gateway_creates_total{outcome="accepted"} 1.0' in page
        assert 'tidegate_gateway_creates_total{outcome="repeated"} 1.0' in page


async def test_a_body_that_does_not_end_is_refused_and_the_others_go_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Whoever sends a byte now and then would otherwise hold a connection for ever."""

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    async with GatewayWorld(nats_server, tmp_path, body_seconds=0.5) as world:
        slow = asyncio.create_task(world.http.post("/v1/jobs", data=dripping()))
        await world.create()
        async with await slow as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert (error["code"], error["param"]) == ("invalid_request", None)
        assert "0.5 seconds" in error["message"]
        assert await world.waiting() == 1
