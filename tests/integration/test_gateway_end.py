"""Every accepted job ends: cancelled, expired or deleted, with a worker or without one."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.control import record_cancel
from tests.support.gateway_world import TENANT, GatewayWorld, refused, until
from tests.support.log_world import completed, wait_until
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import encode_job, job_id_for, new_job_id
from tidegate.contracts.subjects import CONTROL_STREAM, control_subject, nudge_subject
from tidegate.eventlog.appender import FencedError
from tidegate.v1 import jobs_pb2 as pb


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    """With graces short enough to be waited for."""
    async with GatewayWorld(
        nats_server, tmp_path, reap_grace_seconds=0.5, cancel_grace_seconds=0.5
    ) as world:
        yield world


async def cancel(world: GatewayWorld, job_id: str) -> dict[str, Any]:
    async with world.http.post(f"/v1/jobs/{job_id}/cancel") as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


async def until_ended(world: GatewayWorld, job_id: str) -> dict[str, Any]:
    """The job once it has ended and left the queue."""

    async def ended() -> dict[str, Any] | None:
        job = await world.get(job_id)
        over = job["state"] in ("completed", "failed", "cancelled", "expired")
        return job if over and await world.nothing_waits() else None

    job = await until(ended)
    assert job is not None
    return job


async def failed_rounds(world: GatewayWorld) -> float:
    """How often the reaper found no JetStream, by the gateway's own count."""
    async with world.http.get(f"http://{world.gateway.health.address}/metrics") as response:
        lines = (await response.text()).splitlines()
    name = "tidegate_gateway_reaper_failures_total "
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def no_records(world: GatewayWorld) -> bool:
    """Whether no request to cancel is kept any more."""
    info = await world.peer.jetstream.api(f"STREAM.INFO.{CONTROL_STREAM}")
    return bool(info["state"]["messages"] == 0)


async def test_a_queued_job_is_cancelled_at_once_without_any_worker(world: GatewayWorld) -> None:
    job = await world.create()
    answer = await cancel(world, job["id"])
    assert answer["state"] == "cancelled"
    assert answer["error"]["reason"] == "CANCELLED_BY_CALLER"
    assert await world.waiting() == 0
    assert (await cancel(world, job["id"]))["last_sequence"] == answer["last_sequence"]


async def test_a_cancel_is_told_to_the_worker_and_recorded_for_one_that_does_not_hear(
    world: GatewayWorld,
) -> None:
    job = await world.create()
    writer = await world.worker_plays(job["id"])
    nudge = await world.peer.client.subscribe(nudge_subject(TENANT, job["id"]))
    await world.peer.client.flush()
    assert (await cancel(world, job["id"]))["state"] == "running"
    await nudge.next_msg(timeout=5)
    assert await world.peer.jetstream.last(CONTROL_STREAM, control_subject(TENANT, job["id"]))
    await writer.abandon()


async def test_a_deaf_workers_job_is_cancelled_by_the_reaper(world: GatewayWorld) -> None:
    """A frozen worker must not keep a job alive that its caller has given up."""
    job = await world.create()
    writer = await world.worker_plays(job["id"])
    writer.emit(Delta("a part"))
    assert (await cancel(world, job["id"]))["state"] == "running"
    ended = await until_ended(world, job["id"])
    assert (ended["state"], ended["answer"]["text"]) == ("cancelled", "a part")
    with pytest.raises(FencedError):
        await writer.seal(completed())
    await writer.abandon()
    assert (await world.get(job["id"]))["state"] == "cancelled"


async def test_the_worker_is_nudged_again_for_as_long_as_it_may_still_hear(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, cancel_grace_seconds=60) as world:
        job = await world.create()
        writer = await world.worker_plays(job["id"])
        await cancel(world, job["id"])
        # It begins to listen only now, as after a reconnect.
        nudge = await world.peer.client.subscribe(nudge_subject(TENANT, job["id"]))
        await nudge.next_msg(timeout=20)
        await writer.abandon()


async def test_a_cancel_that_died_half_way_is_finished_by_the_reaper(world: GatewayWorld) -> None:
    """The gateway recorded it, and was killed."""
    job = await world.create()
    await record_cancel(world.peer.jetstream, TENANT, job["id"])
    assert (await until_ended(world, job["id"]))["state"] == "cancelled"


async def test_an_old_cancel_does_not_end_the_next_job_of_its_request_id(
    world: GatewayWorld,
) -> None:
    """The record outlives the result, after which the same id is another job."""
    job_id = job_id_for(TENANT, "r-1")
    await record_cancel(world.peer.jetstream, TENANT, job_id)
    assert (await world.create(request_id="r-1"))["id"] == job_id
    await until(lambda: no_records(world))
    assert (await world.get(job_id))["state"] == "queued"


async def test_a_cancel_is_not_lost_behind_an_older_one_of_its_request_id(
    world: GatewayWorld,
) -> None:
    await record_cancel(world.peer.jetstream, TENANT, job_id_for(TENANT, "r-1"))
    job = await world.create(request_id="r-1")
    writer = await world.worker_plays(job["id"])
    await cancel(world, job["id"])
    assert (await until_ended(world, job["id"]))["state"] == "cancelled"
    await writer.abandon()


async def test_records_of_cancels_go_when_their_jobs_have_ended(world: GatewayWorld) -> None:
    for _ in range(3):
        await cancel(world, (await world.create())["id"])
    await until(lambda: no_records(world))


async def test_a_finished_job_stays_as_it_is_when_cancelled(world: GatewayWorld) -> None:
    job = await world.create()
    await (await world.worker_plays(job["id"])).seal(completed())
    assert (await cancel(world, job["id"]))["state"] == "completed"
    told = await world.rpc.call("CancelJob", pb.CancelJobRequest(job_id=job["id"]))
    assert told.job.state == pb.JOB_STATE_COMPLETED
    assert await no_records(world)


async def test_a_queued_job_expires_without_any_worker(world: GatewayWorld) -> None:
    job = await world.create(ttl_s=1)
    ended = await until_ended(world, job["id"])
    assert ended["state"] == "expired"
    assert ended["error"]["reason"] == "DEADLINE_EXCEEDED"
    assert ended["error"]["retriable"] is True
    assert ended["finished_at"] >= ended["deadline"]


async def test_a_running_job_expires_after_its_worker_had_time_to_end_it(
    world: GatewayWorld,
) -> None:
    job = await world.create(ttl_s=1)
    writer = await world.worker_plays(job["id"])
    writer.emit(Delta("a part"))
    ended = await until_ended(world, job["id"])
    assert (ended["state"], ended["answer"]["text"]) == ("expired", "a part")
    assert ended["finished_at"] >= ended["deadline"] + 0.5
    with pytest.raises(FencedError):
        await writer.seal(completed())
    await writer.abandon()


async def test_a_worker_that_ends_its_job_in_time_is_not_overruled(world: GatewayWorld) -> None:
    job = await world.create(ttl_s=1)
    await (await world.worker_plays(job["id"])).seal(completed())
    # The worker died before its acknowledgement: the reaper clears the message away.
    assert (await until_ended(world, job["id"]))["state"] == "completed"


async def test_jobs_of_before_the_gateways_start_expire_too(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        ids = [(await world.create(ttl_s=1))["id"] for _ in range(3)]
        await world.gateway.lifecycle.stop()
        await world.start_gateway()
        await until(world.nothing_waits)
        for job_id in ids:
            head = await world.peer.jetstream.last("EVENTS", f"events.*.{TENANT}.{job_id}")
            assert head is not None
            assert b'"expired"' in head.payload


async def test_three_reapers_end_each_job_once(world: GatewayWorld) -> None:
    for _ in range(2):
        await world.start_gateway()
    ids = [(await world.create(ttl_s=1))["id"] for _ in range(30)]
    await until(world.nothing_waits)
    for job_id in ids:
        job = await world.get(job_id)
        assert (job["state"], job["last_sequence"]) == ("expired", 1)


async def test_the_reaper_survives_an_outage_and_then_ends_what_was_due(
    world: GatewayWorld, nats_server: NatsServer
) -> None:
    job = await world.create(ttl_s=1)
    await nats_server.kill()
    await wait_until(lambda: time.time() > job["deadline"])
    failures = await failed_rounds(world)

    async def failed_again() -> bool:
        return await failed_rounds(world) > failures + 1

    await until(failed_again)
    await nats_server.start()

    async def expired() -> bool:
        async with world.http.get(f"/v1/jobs/{job['id']}") as response:
            return response.status == 200 and (await response.json())["state"] == "expired"

    await until(expired)
    assert world.gateway.lifecycle.guard.fault is None


async def test_a_message_that_no_release_can_read_stops_no_reaper(world: GatewayWorld) -> None:
    subject = f"jobs.default.interactive.0.{TENANT}.job_{'a' * 26}"
    await world.peer.jetstream.publish(subject, b"garbage", {})
    job = await world.create(ttl_s=1)

    async def expired() -> bool:
        return bool((await world.get(job["id"]))["state"] == "expired")

    await until(expired)
    async with world.http.get("/v1/jobs") as response:
        assert [each["id"] for each in (await response.json())["jobs"]] == [job["id"]]


async def test_a_running_job_is_not_deleted(world: GatewayWorld) -> None:
    queued, running = await world.create(), await world.create()
    writer = await world.worker_plays(running["id"])
    for job in (queued, running):
        async with world.http.delete(f"/v1/jobs/{job['id']}") as response:
            assert response.status == 422
            assert (await response.json())["error"]["code"] == "job_not_finished"
        error = await refused(world.rpc.call("DeleteJob", pb.DeleteJobRequest(job_id=job["id"])))
        assert error.code().name == "FAILED_PRECONDITION"
        assert from_rpc_error(error).reason is Reason.JOB_NOT_FINISHED
    await writer.abandon()


async def test_a_deleted_job_is_gone_from_everywhere(world: GatewayWorld) -> None:
    """Who asks for deletion must find no word of the answer left."""
    job = await world.create()
    writer = await world.worker_plays(job["id"])
    writer.emit(Delta("a secret answer"))
    await writer.seal(completed())
    async with world.http.delete(f"/v1/jobs/{job['id']}") as response:
        assert response.status == 204
    async with world.http.get("/v1/jobs") as response:
        assert (await response.json())["jobs"] == []
    for verb, path in [("GET", ""), ("POST", "/cancel"), ("DELETE", "")]:
        async with world.http.request(verb, f"/v1/jobs/{job['id']}{path}") as response:
            assert response.status == 404
    assert await world.waiting() == 0
    info = await world.peer.jetstream.api("STREAM.INFO.EVENTS")
    assert info["state"]["messages"] == 1
    kept = await world.peer.jetstream.last("EVENTS", "events.>")
    assert kept is not None
    assert b"secret" not in kept.payload


async def test_a_killed_gateways_jobs_are_expired_by_another(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, reap_scan_age_seconds=0.5) as world:
        # As a gateway would that dies the moment after: nobody was told of the job.
        stored = await world.queued((await world.create(ttl_s=60))["id"])
        orphan = msgspec.structs.replace(stored, id=new_job_id(), ttl_ms=1_000)
        await world.peer.jetstream.publish(orphan.subject, encode_job(orphan), {})

        async def expired() -> bool:
            return bool((await world.get(orphan.id))["state"] == "expired")

        await until(expired)
        assert await world.waiting() == 1
