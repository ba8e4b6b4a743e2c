"""Creating jobs: what is accepted is durable and there once; the rest is refused in words."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.gateway_world import CHAT, TENANT, GatewayWorld, Rpc, refused
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.contracts.jobs import JobClass, job_id_for
from tidegate.v1 import jobs_pb2 as pb

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


def chat_json(**more: Any) -> bytes:
    return msgspec.json.encode(CHAT | more)


async def test_an_accepted_job_is_in_the_queue_when_the_caller_hears_of_it(
    world: GatewayWorld,
) -> None:
    job = await world.create(ttl_s=60, **{"class": "batch"})
    queued = await world.queued(job["id"])
    assert queued.tenant == TENANT
    assert queued.key_id.startswith("key_")
    assert (queued.queue, queued.job_class, queued.ttl_ms) == ("default", JobClass.BATCH, 60_000)
    assert msgspec.json.decode(queued.request) == CHAT
    assert job["state"] == "queued"
    assert job["class"] == "batch"
    assert job["deadline"] - job["created_at"] == pytest.approx(60)
    assert job["links"]["events"].endswith(f"/v1/jobs/{job['id']}/events")


async def test_a_job_waits_ten_minutes_and_is_interactive_unless_it_says_otherwise(
    world: GatewayWorld,
) -> None:
    queued = await world.queued((await world.create())["id"])
    assert (queued.job_class, queued.ttl_ms) == (JobClass.INTERACTIVE, 600_000)


async def test_the_model_decides_the_queue(world: GatewayWorld) -> None:
    job = await world.create(request=CHAT | {"model": "sim-2"})
    assert (await world.queued(job["id"])).queue == "other"


async def test_a_trace_goes_on_through_the_queue(world: GatewayWorld) -> None:
    body = {"request": CHAT}
    async with world.http.post("/v1/jobs", json=body, headers={"traceparent": TRACE}) as response:
        over_http = (await response.json())["id"]
    metadata = (*world.rpc.metadata, ("traceparent", TRACE))
    stub_request = pb.CreateJobRequest(chat_json=chat_json())
    world.rpc.metadata = metadata
    over_grpc = (await world.rpc.call("CreateJob", stub_request)).job.id
    for job_id in (over_http, over_grpc):
        assert (await world.queued(job_id)).traceparent.split("-")[1] == TRACE.split("-")[1]


async def test_the_same_request_id_is_the_same_job_on_every_surface(world: GatewayWorld) -> None:
    """A client that repeats after a lost answer must not pay twice."""
    body = {"request": CHAT}
    async with world.http.post(
        "/v1/jobs", json=body, headers={"Idempotency-Key": "r-1"}
    ) as response:
        by_header = await response.json()
        assert response.headers["Location"] == f"/v1/jobs/{by_header['id']}"
    by_body = await world.create(request_id="r-1")
    raw = await world.rpc.call(
        "CreateJob", pb.CreateJobRequest(request_id="r-1", chat_json=b" " + chat_json())
    )
    typed = await world.rpc.call(
        "CreateJob",
        pb.CreateJobRequest(
            request_id="r-1",
            chat=pb.ChatRequest(
                model="sim-1", messages=[pb.ChatMessage(role="user", content="hi")]
            ),
        ),
    )
    ids = {by_header["id"], by_body["id"], raw.job.id, typed.job.id}
    assert ids == {job_id_for(TENANT, "r-1")}
    assert await world.waiting() == 1


async def test_the_same_request_id_of_another_tenant_is_another_job(world: GatewayWorld) -> None:
    mine = await world.create(request_id="r-1")
    body = {"request": CHAT, "request_id": "r-1"}
    async with (
        world.client(world.gateway, world.stranger) as http,
        http.post("/v1/jobs", json=body) as response,
    ):
        theirs = await response.json()
    assert theirs["id"] != mine["id"]
    assert await world.waiting() == 2


async def test_a_repeated_create_finds_the_running_and_the_finished_job(
    world: GatewayWorld,
) -> None:
    job = await world.create(request_id="r-1")
    writer = await world.worker_plays(job["id"])
    assert (await world.create(request_id="r-1"))["state"] == "running"
    await writer.seal(completed())
    # As after the worker's acknowledgement: only the log is left.
    await world.peer.jetstream.api("STREAM.PURGE.JOBS")
    again = await world.create(request_id="r-1")
    assert (again["id"], again["state"]) == (job["id"], "completed")
    assert again["answer"]["finish_reason"] == "stop"
    assert await world.waiting() == 0


@pytest.mark.parametrize("finished", [False, True])
async def test_a_request_id_with_another_body_is_an_error(
    world: GatewayWorld, finished: bool
) -> None:
    job = await world.create(request_id="r-1")
    if finished:
        await (await world.worker_plays(job["id"])).seal(completed())
        await world.peer.jetstream.api("STREAM.PURGE.JOBS")
    body = {"request": CHAT | {"temperature": 1}, "request_id": "r-1"}
    async with world.http.post("/v1/jobs", json=body) as response:
        assert response.status == 422
        assert response.headers["x-should-retry"] == "false"
        assert (await response.json())["error"]["code"] == "request_id_conflict"
    error = await refused(
        world.rpc.call(
            "CreateJob",
            pb.CreateJobRequest(
                request_id="r-1", chat_json=chat_json(), job_class="JOB_CLASS_BATCH"
            ),
        )
    )
    assert error.code().name == "INVALID_ARGUMENT"
    assert from_rpc_error(error).reason is Reason.REQUEST_ID_CONFLICT


async def test_a_deleted_job_does_not_come_back_by_its_request_id(world: GatewayWorld) -> None:
    job = await world.create(request_id="r-1")
    await (await world.worker_plays(job["id"])).seal(completed())
    async with world.http.delete(f"/v1/jobs/{job['id']}") as response:
        assert response.status == 204
    error = await refused(
        world.rpc.call("CreateJob", pb.CreateJobRequest(request_id="r-1", chat_json=chat_json()))
    )
    assert error.code().name == "FAILED_PRECONDITION"
    assert from_rpc_error(error).reason is Reason.JOB_DELETED
    async with world.http.post("/v1/jobs", json={"request": CHAT, "request_id": "r-1"}) as response:
        assert response.status == 422
    assert await world.waiting() == 0


async def test_fifty_callers_with_one_request_id_make_one_job(world: GatewayWorld) -> None:
    """Over two gateways and two surfaces, all at the same moment."""
    second = await world.start_gateway()
    request = pb.CreateJobRequest(request_id="r-1", chat_json=chat_json())

    async with world.client(second, world.key) as http, Rpc(second, world.key) as rpc:

        async def over_http(client: Any) -> str:
            async with client.post(
                "/v1/jobs", json={"request": CHAT, "request_id": "r-1"}
            ) as response:
                assert response.status == 202, await response.text()
                return str((await response.json())["id"])

        async def over_grpc(client: Rpc) -> str:
            return str((await client.call("CreateJob", request)).job.id)

        calls = [
            call
            for _ in range(13)
            for call in (
                over_http(world.http),
                over_http(http),
                over_grpc(world.rpc),
                over_grpc(rpc),
            )
        ]
        ids = await asyncio.gather(*calls)
    assert set(ids) == {job_id_for(TENANT, "r-1")}
    assert await world.waiting() == 1


async def test_without_a_request_id_every_call_is_a_job(world: GatewayWorld) -> None:
    ids = {(await world.create())["id"] for _ in range(3)}
    assert len(ids) == 3
    assert await world.waiting() == 3


async def test_grpc_takes_the_whole_of_its_protocol(world: GatewayWorld) -> None:
    request = pb.CreateJobRequest(
        chat=pb.ChatRequest(
            model="sim-1",
            messages=[
                pb.ChatMessage(role="system", content="be brief"),
                pb.ChatMessage(role="user", content="hi"),
            ],
            max_tokens=5,
            temperature=0.5,
            top_p=0.25,
            seed=7,
            stop=["a", "b"],
        ),
        job_class="JOB_CLASS_BATCH",
        ttl=Duration(seconds=90),
        on_disconnect="ON_DISCONNECT_DETACH",
    )
    job = (await world.rpc.call("CreateJob", request)).job
    queued = await world.queued(job.id)
    assert msgspec.json.decode(queued.request) == {
        "model": "sim-1",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
        ],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.25,
        "seed": 7,
        "stop": ["a", "b"],
    }
    assert (queued.job_class, queued.ttl_ms) == (JobClass.BATCH, 90_000)
    assert job.deadline.ToMilliseconds() - job.created_at.ToMilliseconds() == 90_000
