"""What changes under the OpenAI door while it is open: its clients, its routes, its gateway."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway_world import CHAT, ROUTES, TENANT, GatewayWorld, until
from tests.support.nats_server import NatsServer
from tidegate.contracts.jobs import job_id_for
from tidegate.eventlog.reader import LogReader

URL = "/v1/chat/completions"


async def test_a_client_that_goes_while_its_job_is_made_leaves_no_job_running(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Nobody ever read it, so that nobody could be seen to leave: it would be paid for in vain."""
    async with GatewayWorld(nats_server, tmp_path, linger_seconds=0.2) as world:
        headers = {"Idempotency-Key": "one", "Authorization": f"Bearer {world.key}"}
        url = f"http://{world.gateway.http.address}{URL}"
        async with aiohttp.ClientSession() as http:
            nats_server.freeze()
            try:
                asking = asyncio.create_task(
                    http.post(url, json=CHAT, headers=headers).__aenter__()
                )
                await until(lambda: _running("make-job"))
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await until(lambda: _running("abandoned-job"))
            finally:
                nats_server.thaw()
        job_id = job_id_for(TENANT, "one")

        async def over() -> bool:
            async with world.http.get(f"/v1/jobs/{job_id}") as response:
                return bool((await response.json()).get("state") == "cancelled")

        await until(over)


async def test_a_client_that_goes_before_it_reads_leaves_no_job_running(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, subscribe = asyncio.Event(), LogReader._subscribe

    async def never_the_first_time(self: LogReader, shard: int, log: str) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        await subscribe(self, shard, log)

    monkeypatch.setattr(LogReader, "_subscribe", never_the_first_time)
    async with GatewayWorld(nats_server, tmp_path, linger_seconds=0.2) as world:
        asking = asyncio.create_task(world.http.post(URL, json=CHAT).__aenter__())
        await begun.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(world.nothing_waits)
        async with world.http.get("/v1/jobs") as response:
            assert [job["state"] for job in (await response.json())["jobs"]] == ["cancelled"]


async def _running(name: str) -> bool:
    return any(task.get_name() == name for task in asyncio.all_tasks())


async def test_a_model_and_its_queue_are_there_once_the_routes_name_them(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A new model must not need a restart of what thousands of clients are connected to."""
    routes = tmp_path / "changing.yaml"
    routes.write_text(ROUTES, encoding="utf-8")
    async with GatewayWorld(nats_server, tmp_path, routes_file=routes) as world:
        new = "  sim-9: {queue: ninth, extra_body: [top_k], targets: [{provider: nobody}]}\n"
        routes.write_text(ROUTES + new, encoding="utf-8")

        async def listed() -> bool:
            async with world.http.get("/v1/models/sim-9") as response:
                return response.status == 200

        await until(listed)
        job = await world.create(request=CHAT | {"model": "sim-9", "top_k": 5})
        queued = await world.queued(job["id"])
        assert queued.queue == "ninth"
        assert json.loads(bytes(queued.request))["top_k"] == 5

        async def has_consumers() -> bool:
            names = (await world.peer.jetstream.api("CONSUMER.NAMES.JOBS"))["consumers"]
            return {"ninth-interactive", "ninth-batch"} <= set(names)

        await until(has_consumers)
        async with world.http.get("/.well-known/tidegate") as response:
            assert "sim-9" in (await response.json())["models"]
        # And what is taken out is gone, for chats and jobs alike.
        routes.write_text(ROUTES, encoding="utf-8")

        async def gone() -> bool:
            body = {"request": CHAT | {"model": "sim-9"}}
            async with world.http.post("/v1/jobs", json=body) as response:
                return response.status == 404

        await until(gone)


async def test_a_bad_file_changes_nothing(nats_server: NatsServer, tmp_path: Path) -> None:
    routes = tmp_path / "changing.yaml"
    routes.write_text(ROUTES, encoding="utf-8")
    async with GatewayWorld(nats_server, tmp_path, routes_file=routes) as world:
        routes.write_text("models: {sim-1: {queue: '*'}}", encoding="utf-8")
        await until(lambda: world.metric("tidegate_routes_stale 1.0"))
        assert await world.create()
