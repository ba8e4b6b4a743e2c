"""The reaper under a burst, on what it cannot read, and where JetStream refuses it."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.control import record_cancel
from tests.support.gateway_world import TENANT, GatewayWorld, until
from tests.support.nats_server import NatsServer
from tidegate.chassis.jetstream import JetStream, RefusedError
from tidegate.contracts.jobs import encode_job, new_job_id
from tidegate.contracts.subjects import (
    CONTROL_STREAM,
    EVENTS_STREAM,
    log_subject,
)

NO_LEADER = 10008


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(
        nats_server, tmp_path, cancel_grace_seconds=0, reap_scan_age_seconds=0
    ) as world:
        yield world


async def is_cancelled(world: GatewayWorld, job_id: str) -> bool:
    return bool((await world.get(job_id))["state"] == "cancelled")


async def records(world: GatewayWorld) -> int:
    info = await world.peer.jetstream.api(f"STREAM.INFO.{CONTROL_STREAM}")
    return int(info["state"]["messages"])


async def test_a_cancel_does_not_wait_for_thousands_of_jobs_to_expire(
    world: GatewayWorld, nats_server: NatsServer, tmp_path: Path
) -> None:
    """One tenant's burst must not keep another's cancelled job running."""
    burst, lasting = 1_500, await world.create()
    model = await world.queued(lasting["id"])
    await world.gateway.lifecycle.stop()
    due = [
        msgspec.structs.replace(model, id=new_job_id(), tenant="burst", ttl_ms=1)
        for _ in range(burst)
    ]
    for some in range(0, burst, 100):
        await asyncio.gather(
            *(
                world.peer.jetstream.publish(job.subject, encode_job(job), {})
                for job in due[some : some + 100]
            )
        )
    await world.start_gateway()
    expired = log_subject("burst", due[0].id)
    await until(lambda: world.peer.jetstream.last(EVENTS_STREAM, expired))
    await record_cancel(world.peer.jetstream, TENANT, model.id)

    async def all_ended() -> bool:
        return await world.waiting() == 0

    await until(all_ended)
    ended = await world.peer.jetstream.last(EVENTS_STREAM, log_subject(TENANT, model.id))
    assert ended is not None
    assert b"CANCELLED_BY_CALLER" in ended.payload
    assert ended.sequence <= burst - 100


async def test_a_cancelled_job_that_cannot_be_read_is_said_once(world: GatewayWorld) -> None:
    """A line a second for a week would hide every other error."""
    job_id = new_job_id()
    await world.peer.jetstream.publish(
        f"jobs.default.interactive.0.{TENANT}.{job_id}", b"garbage", {}
    )
    await record_cancel(world.peer.jetstream, TENANT, job_id)
    # Once as a message whose deadline is not known, once as a job to cancel.
    unreadable = "tidegate_gateway_unreadable_total 2.0"
    await until(lambda: world.metric(unreadable))
    for _ in range(2):  # Each of them takes a round.
        other = (await world.create())["id"]
        await record_cancel(world.peer.jetstream, TENANT, other)
        await until(partial(is_cancelled, world, other))
    assert await world.metric(unreadable)


async def test_a_record_that_jetstream_does_not_delete_now_is_deleted_later(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster without a leader refuses; the record would stay until the gateway's next start."""
    refusals = 0
    api = JetStream.api

    async def refusing_once(self: JetStream, verb: str, *arguments: Any) -> dict[str, Any]:
        nonlocal refusals
        if verb == f"STREAM.MSG.DELETE.{CONTROL_STREAM}" and not refusals:
            refusals += 1
            raise RefusedError(NO_LEADER, "JetStream system temporarily unavailable", 503)
        return await api(self, verb, *arguments)

    monkeypatch.setattr(JetStream, "api", refusing_once)
    await record_cancel(world.peer.jetstream, TENANT, new_job_id())

    async def none_left() -> bool:
        return refusals == 1 and await records(world) == 0

    await until(none_left)
