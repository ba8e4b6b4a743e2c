"""NATS fails: what was accepted is there, what was not is said at once or called unknown."""

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support.gateway_world import CHAT, GatewayWorld, refused, until
from tests.support.log_world import completed, wait_until
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.chassis.jetstream import JetStreamError
from tidegate.contracts.errors import Reason
from tidegate.contracts.jobs import job_id_for
from tidegate.eventlog.streams import streams_exist
from tidegate.gateway.app import make_gateway
from tidegate.v1 import jobs_pb2 as pb


def create_request(request_id: str = "") -> pb.CreateJobRequest:
    chat = pb.ChatRequest(model="sim-1", messages=[pb.ChatMessage(role="user", content="hi")])
    return pb.CreateJobRequest(request_id=request_id, chat=chat)


def reached(accepted: set[str], enough: int) -> bool:
    return len(accepted) >= enough


async def readiness(world: GatewayWorld, status: int) -> dict[str, Any]:
    while True:
        async with world.http.get(f"http://{world.gateway.health.address}/readyz") as response:
            if response.status == status:
                told: dict[str, Any] = await response.json()
                return told
        await asyncio.sleep(0.02)


async def test_streams_that_a_restart_of_nats_has_lost_are_made_anew(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Those in memory are gone then; a worker that starts afterwards would never be ready."""
    async with GatewayWorld(nats_server, tmp_path) as world:
        assert await streams_exist(world.peer.jetstream)
        await nats_server.restart()

        async def exist() -> bool:
            with contextlib.suppress(JetStreamError):
                return await streams_exist(world.peer.jetstream)
            return False

        assert await until(exist)
        await readiness(world, 200)


async def test_without_nats_every_call_says_so_and_afterwards_all_goes_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        job = await world.create()
        await nats_server.kill()
        assert "nats" in (await readiness(world, 503))["failing"]
        answer = await HealthStub(world.rpc.channel).Check(
            HealthCheckRequest(service="tidegate.v1.JobService")
        )
        assert answer.status == answer.NOT_SERVING
        path = f"/v1/jobs/{job['id']}"
        calls = [
            ("POST", "/v1/jobs"),
            ("GET", "/v1/jobs"),
            ("GET", path),
            ("POST", f"{path}/cancel"),
            ("DELETE", path),
        ]
        for verb, each in calls:
            async with world.http.request(verb, each, json={"request": CHAT}) as response:
                assert response.status == 503, each
                assert 0 < int(response.headers["Retry-After"]) < 60
                assert (await response.json())["error"]["code"] == "unavailable"
        error = await refused(world.rpc.call("CreateJob", create_request("r-1")))
        assert error.code().name == "UNAVAILABLE"
        told = from_rpc_error(error)
        assert (told.reason, told.job_id) == (Reason.UNAVAILABLE, None)
        await nats_server.start()
        await readiness(world, 200)
        assert (await world.get(job["id"]))["state"] == "queued"
        await world.create(request_id="r-1")
        assert await world.waiting() == 2


async def test_a_create_under_way_when_nats_is_killed_is_there_once_when_it_is_answered(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """kill -9 between the publish and its acknowledgement, which never comes."""
    async with GatewayWorld(nats_server, tmp_path) as world:
        await world.create()
        nats_server.freeze()
        creates = [asyncio.create_task(world.create()) for _ in range(20)]
        await asyncio.sleep(0.2)  # They are written to a socket that nobody reads.
        await nats_server.kill()
        await nats_server.start()
        jobs = await asyncio.gather(*creates)
        assert len({job["id"] for job in jobs}) == 20
        assert await world.waiting() == 21


async def test_a_create_whose_acknowledgement_was_lost_is_one_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It is stored; only the answer never came. The repeat must find it, not make another."""
    async with TcpProxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with GatewayWorld(nats_server, tmp_path, nats_url=url) as world:
            await world.create()
            proxy.swallow(Way.DOWN)
            creates = [asyncio.create_task(world.create()) for _ in range(10)]

            async def stored() -> bool:
                return await world.waiting() == 11

            await until(stored)
            proxy.cut()
            jobs = await asyncio.gather(*creates)
            assert len({job["id"] for job in jobs}) == 10
            assert await world.waiting() == 11
            # They are counted as new jobs, which they are, and not as repeats.
            assert await world.metric('tidegate_gateway_creates_total{outcome="accepted"} 11.0')


async def test_an_outcome_that_stays_unknown_is_called_so_and_can_be_repeated(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, settle_seconds=0.5) as world:
        await world.create(request_id="before")
        nats_server.freeze()
        error = await refused(world.rpc.call("CreateJob", create_request()))
        told = from_rpc_error(error)
        assert (error.code().name, told.reason) == ("UNAVAILABLE", Reason.CREATE_UNKNOWN)
        assert told.job_id
        async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "create_unknown"
            unknown = response.headers["x-tidegate-job"]
        nats_server.thaw()
        # It was on its way, and is stored now: what the error named can be found.
        while True:
            async with world.http.get(f"/v1/jobs/{unknown}") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.02)
        assert (await world.create(request_id="before"))["id"] == job_id_for("acme", "before")


async def test_nothing_accepted_is_lost_over_many_kills(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        accepted: set[str] = set()
        ended = False

        async def client() -> None:
            while not ended:
                async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
                    if response.status == 202:
                        accepted.add((await response.json())["id"])
                    else:
                        await asyncio.sleep(0.02)

        clients = [asyncio.create_task(client()) for _ in range(8)]
        for _ in range(4):
            enough = len(accepted) + 50
            await wait_until(partial(reached, accepted, enough))
            await nats_server.restart()
        ended = True
        await asyncio.gather(*clients)

        async def connected() -> bool:
            async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
                return response.status == 202

        await until(connected)
        seen: set[str] = set()
        token = ""
        while True:
            page = await world.rpc.call(
                "ListJobs", pb.ListJobsRequest(page_size=200, page_token=token)
            )
            seen |= {job.id for job in page.jobs}
            token = page.next_page_token
            if not token:
                break
        assert len(accepted) >= 200
        assert accepted <= seen


async def test_a_gateway_waits_for_nats_not_ready_and_then_serves(tmp_path: Path) -> None:
    nats_server = NatsServer(tmp_path)
    world = GatewayWorld(nats_server, tmp_path)
    gateway = make_gateway(world.settings())
    starting = asyncio.create_task(gateway.lifecycle.start())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(gateway.lifecycle.stop)
        while True:
            with contextlib.suppress(RuntimeError):
                address = gateway.health.address
                break
            await asyncio.sleep(0.01)
        async with (
            aiohttp.ClientSession() as probe,
            probe.get(f"http://{address}/readyz") as response,
        ):
            assert response.status == 503
            assert {"nats", "streams"} <= (await response.json())["failing"].keys()
        await stack.enter_async_context(nats_server)
        await starting
        async with (
            world.client(gateway, world.key) as http,
            http.post("/v1/jobs", json={"request": CHAT}) as response,
        ):
            assert response.status == 202


async def test_a_stream_goes_on_over_an_outage(nats_server: NatsServer, tmp_path: Path) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        job = await world.create()
        call = world.rpc.stream(pb.StreamJobEventsRequest(job_id=job["id"]))
        writer = await world.worker_plays(job["id"])
        assert (await call.read()).event.sequence == 1
        await nats_server.restart()
        await writer.seal(completed())
        assert (await call.read()).event.sequence == 2
