"""Lists: whoever pages through them must see every job, and no other tenant's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, refused
from tests.support.log_world import completed, words
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.events import Waiting
from tidegate.v1 import jobs_pb2 as pb


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


async def pages(world: GatewayWorld, size: int) -> list[list[Any]]:
    found, token = [], ""
    while True:
        page = await world.rpc.call(
            "ListJobs", pb.ListJobsRequest(page_size=size, page_token=token)
        )
        assert len(page.jobs) <= size
        found.append(list(page.jobs))
        token = page.next_page_token
        if not token:
            return found


async def finish(world: GatewayWorld, job_id: str) -> None:
    writer = await world.worker_plays(job_id)
    for delta in words(3):
        writer.emit(delta)
    await writer.seal(completed())
    stored = await world.peer.jetstream.last("JOBS", f"jobs.*.*.*.*.{job_id}")
    assert stored is not None
    await world.peer.jetstream.api("STREAM.MSG.DELETE.JOBS", {"seq": stored.sequence})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
async def test_every_page_size_shows_every_job_once_in_order(
    world: GatewayWorld, size: int
) -> None:
    ids = [(await world.create())["id"] for _ in range(9)]
    async with world.client(world.gateway, world.stranger) as http:
        await http.post("/v1/jobs", json={"request": CHAT})
    finished = [ids[4], ids[1], ids[7]]
    for job_id in finished:
        await finish(world, job_id)
    writers = [await world.worker_plays(ids[number]) for number in (0, 5)]
    for number in range(6):
        # Lines of a running log lie between the sealed ones.
        writers[number % 2].emit(Waiting("retry"))
    waiting = [job_id for job_id in ids if job_id not in finished]
    seen = [job for page in await pages(world, size) for job in page]
    assert [job.id for job in seen] == waiting + finished
    states = {job.id: pb.JobState.Name(job.state) for job in seen}
    assert all(states[job_id] == "JOB_STATE_COMPLETED" for job_id in finished)
    assert states[ids[2]] == "JOB_STATE_QUEUED"
    assert {states[ids[0]], states[ids[5]]} <= {"JOB_STATE_RUNNING", "JOB_STATE_WAITING"}
    assert not any(job.HasField("answer") for job in seen)
    done = next(job for job in seen if job.id == finished[0])
    assert (done.attempts, done.last_sequence, done.usage.output_tokens) == (1, 5, 2)
    for writer in writers:
        await writer.abandon()


async def test_a_job_that_ends_between_two_pages_is_not_missed(world: GatewayWorld) -> None:
    ids = [(await world.create())["id"] for _ in range(4)]
    first = await world.rpc.call("ListJobs", pb.ListJobsRequest(page_size=2))
    await finish(world, ids[0])
    await finish(world, ids[3])
    rest, token = [], first.next_page_token
    while token:
        page = await world.rpc.call("ListJobs", pb.ListJobsRequest(page_size=2, page_token=token))
        rest += [job.id for job in page.jobs]
        token = page.next_page_token
    assert {job.id for job in first.jobs} | set(rest) == set(ids)


async def test_a_job_that_ended_but_waits_to_be_cleared_away_is_shown_once(
    world: GatewayWorld,
) -> None:
    job = await world.create()
    await (await world.worker_plays(job["id"])).seal(completed())
    seen = [job for page in await pages(world, 10) for job in page]
    assert [(each.id, each.state) for each in seen] == [(job["id"], pb.JOB_STATE_COMPLETED)]


async def test_an_empty_list_is_one_empty_page(world: GatewayWorld) -> None:
    assert await pages(world, 10) == [[]]
    async with world.http.get("/v1/jobs") as response:
        assert await response.json() == {"jobs": [], "next_page_token": None}


async def test_pages_over_http_carry_the_same_tokens(world: GatewayWorld) -> None:
    ids = [(await world.create())["id"] for _ in range(3)]
    async with world.http.get("/v1/jobs", params={"page_size": "2"}) as response:
        first = await response.json()
    params = {"page_size": "2", "page_token": first["next_page_token"]}
    async with world.http.get("/v1/jobs", params=params) as response:
        second = await response.json()
    assert [job["id"] for page in (first, second) for job in page["jobs"]] == ids


async def test_a_token_shows_nobody_another_tenants_jobs(world: GatewayWorld) -> None:
    for _ in range(3):
        await world.create()
    async with world.http.get("/v1/jobs", params={"page_size": "1"}) as response:
        token = (await response.json())["next_page_token"]
    async with (
        world.client(world.gateway, world.stranger) as http,
        http.get("/v1/jobs", params={"page_token": token}) as response,
    ):
        assert (await response.json())["jobs"] == []


@pytest.mark.parametrize("size", [-1, 201])
async def test_a_page_size_out_of_bounds_is_refused(world: GatewayWorld, size: int) -> None:
    error = await refused(world.rpc.call("ListJobs", pb.ListJobsRequest(page_size=size)))
    assert from_rpc_error(error).field == "page_size"
    async with world.http.get("/v1/jobs", params={"page_size": str(size)}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == "page_size"


@pytest.mark.parametrize("token", ["x", "AAAA", "cTE", "é", "MXEw", "MXEtMQ", "MXox", " "])
async def test_a_forged_token_is_refused(world: GatewayWorld, token: str) -> None:
    error = await refused(world.rpc.call("ListJobs", pb.ListJobsRequest(page_token=token)))
    assert error.code().name == "INVALID_ARGUMENT"
    assert from_rpc_error(error).field == "page_token"


async def test_a_log_that_cannot_be_read_hides_no_other(world: GatewayWorld) -> None:
    job = await world.create()
    await finish(world, job["id"])
    await world.peer.jetstream.publish(f"events.0.acme.job_{'b' * 26}", b"garbage", {})
    assert [each.id for page in await pages(world, 10) for each in page] == [job["id"]]
