"""Blind repeats: the stock clients send a request that broke off again, and name no key."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.openai_door import URL, answering, failing, next_job
from tidegate.contracts.events import Delta, Failed

JOINED = "tidegate_gateway_blind_repeats_joined_total"


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


def repeat(count: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(count)}


@pytest.mark.parametrize("state", ["queued", "running", "completed"])
async def test_a_blind_repeat_finds_its_job(world: GatewayWorld, state: str) -> None:
    """The stock clients repeat a request that broke off, and would pay for it twice."""
    first = asyncio.create_task(_status_and_job(world, repeat(0)))
    job_id = await next_job(world)
    if state != "queued":
        writer = await world.worker_plays(job_id)
        writer.emit(Delta("once"))
        if state == "completed":
            await writer.seal(completed())
            assert await first == (200, job_id)
    await until(lambda: _remembered(world))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = asyncio.create_task(_status_and_job(world, repeat(1)))
    if state != "completed":
        await until(lambda: world.metric(f"{JOINED} 1.0"))
        writer = writer if state == "running" else await world.worker_plays(job_id)
        await writer.seal(completed())
    assert await again == (200, job_id)
    assert await _jobs_made(world) == 1


@pytest.mark.parametrize(
    "change",
    ["failed", "first try", "other body", "other class", "other tenant", "no count"],
)
async def test_another_request_is_another_job(world: GatewayWorld, change: str) -> None:
    failed = Failed("PROVIDER_TIMEOUT", "late", True)
    end = failing(world, failed) if change == "failed" else answering(world, "one")
    worker = asyncio.create_task(end)
    await _status_and_job(world, repeat(0))
    first = await worker
    await until(lambda: _remembered(world))
    body = CHAT | ({"seed": 1} if change == "other body" else {})
    headers = repeat(0 if change == "first try" else 1)
    headers |= {"x-tidegate-class": "batch"} if change == "other class" else {}
    headers = {} if change == "no count" else headers
    headers |= {"Authorization": f"Bearer {world.stranger}"} if change == "other tenant" else {}
    worker = asyncio.create_task(answering(world, "two", after=1))
    status, second = await _status_and_job(world, headers, body)
    assert (status, second) == (200, await worker)
    assert second != first


async def _status_and_job(
    world: GatewayWorld, headers: dict[str, str], body: dict[str, Any] = CHAT
) -> tuple[int, str]:
    async with world.http.post(URL, json=body, headers=headers) as response:
        await response.read()
        return response.status, response.headers["x-tidegate-job"]


async def _remembered(world: GatewayWorld) -> bool:
    state = (await world.peer.jetstream.api("STREAM.INFO.RECENT"))["state"]
    return int(state["messages"]) > 0


async def _jobs_made(world: GatewayWorld) -> int:
    return int((await world.peer.jetstream.api("STREAM.INFO.JOBS"))["state"]["last_seq"])
