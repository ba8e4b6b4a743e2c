"""Blind repeats: the stock clients send a request that broke off again, and name no key."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.openai_door import STREAM, URL, answering, failing, next_job
from tests.support.tcp_proxy import TcpProxy, Way
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
    # Streamed or not is how the answer is given, and no part of what is asked.
    again = asyncio.create_task(_status_and_job(world, repeat(1), STREAM))
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


async def test_a_repeat_of_a_create_whose_outcome_is_unknown_makes_no_second_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It was stored, and will be run; the client is told 503, and asks again on its own."""
    async with TcpProxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with GatewayWorld(nats_server, tmp_path, nats_url=url, settle_seconds=0.5) as world:
            worker = asyncio.create_task(answering(world, "warm"))
            await _status_and_job(world, {})
            await worker
            proxy.swallow(Way.DOWN)
            async with world.http.post(URL, json=CHAT, headers=repeat(0)) as response:
                assert response.status == 503
                assert (await response.json())["error"]["code"] == "create_unknown"
                unknown = response.headers["x-tidegate-job"]
            proxy.cut()
            await until(lambda: _takes_jobs(world))
            again = asyncio.create_task(_status_and_job(world, repeat(1)))
            await until(lambda: world.metric(f"{JOINED} 1.0"))
            writer = await world.worker_plays(unknown)
            await writer.seal(completed())
            assert await again == (200, unknown)


async def test_a_repeat_of_a_create_that_was_refused_makes_the_job(world: GatewayWorld) -> None:
    """What is remembered before it is made may never have been."""
    await world.create()
    full = await world.start_gateway(max_jobs_in_flight=1)
    asking = world.client(full, world.key)
    async with asking as http, http.post(URL, json=CHAT, headers=repeat(0)) as response:
        assert response.status == 429
    await until(lambda: _remembered(world))
    worker = asyncio.create_task(answering(world, "at last", after=1))
    assert await _status_and_job(world, repeat(1)) == (200, await worker)
    assert await _status_and_job(world, repeat(2)) == (200, await worker)
    assert await _jobs_made(world) == 2


async def _takes_jobs(world: GatewayWorld) -> bool:
    async with world.http.get(f"http://{world.gateway.health.address}/readyz") as response:
        return response.status == 200


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
