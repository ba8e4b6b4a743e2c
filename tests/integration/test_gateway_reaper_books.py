"""What the reaper books for attempts that it ends, and the letters that it writes for the dead."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.control import record_cancel
from tests.support.gateway_world import TENANT, GatewayWorld, until
from tests.support.log_world import wait_until
from tests.support.nats_server import NatsServer
from tidegate.contracts.dead_letter import decode_dead_letter
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import AttemptStarted, Delta, Failed, Usage
from tidegate.contracts.subjects import DLQ_STREAM, JOBS_STREAM, dead_letter_anywhere, job_anywhere
from tidegate.eventlog.head import read_head


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(
        nats_server, tmp_path, cancel_grace_seconds=0, reap_scan_age_seconds=0
    ) as world:
        yield world


async def is_cancelled(world: GatewayWorld, job_id: str) -> bool:
    return bool((await world.get(job_id))["state"] == "cancelled")


async def test_what_a_dead_workers_attempts_used_is_booked_as_lost(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    job = await world.queued(job_id)
    head = await read_head(world.peer.jetstream, TENANT, job_id)
    writer = world.peer.writer(job, head)
    await writer.load()
    earlier = Usage(input_tokens=5, output_tokens=2)
    await writer.start_attempt(
        AttemptStarted(2, "w", "gone", "m", lost=earlier, lost_cost_nano_usd=7)
    )
    for word in ("once ", "upon "):
        writer.emit(Delta(word))
    await wait_until(lambda: writer.stored_sequence == 3)
    await writer.abandon()
    await record_cancel(world.peer.jetstream, TENANT, job_id)
    await until(partial(is_cancelled, world, job_id))
    ended = await world.get(job_id)
    assert ended["usage"]["output_tokens"] == 0
    assert ended["lost"]["output_tokens"] == 4
    assert ended["lost"]["input_tokens"] > 5
    assert ended["lost"]["estimated"]
    # Nobody knows any more what the provider that is gone asked for.
    assert ended["lost_cost"] is None


async def test_the_letter_of_a_worker_that_died_before_it_is_written(world: GatewayWorld) -> None:
    """The job is past its deadline, so that the reaper takes its message away."""
    job_id = (await world.create(ttl_s=5))["id"]
    stored = await world.peer.jetstream.last(JOBS_STREAM, job_anywhere(TENANT, job_id))
    assert stored is not None
    job = await world.queued(job_id)
    head = await read_head(world.peer.jetstream, TENANT, job_id)
    writer = world.peer.writer(job, head, created_ms=stored.time_ms)
    await writer.load()
    await writer.seal(Failed(Reason.PROVIDER_TIMEOUT, "x", retriable=True))
    await writer.abandon()
    await until(world.nothing_waits)
    kept = await world.peer.jetstream.last(DLQ_STREAM, dead_letter_anywhere(TENANT, job_id))
    assert kept is not None
    letter = decode_dead_letter(kept.payload)
    assert (letter.job, letter.reason) == (job, Reason.PROVIDER_TIMEOUT)
