"""Waking whoever starts workers: with the gateway's own rights, and seldom enough."""

import asyncio
from pathlib import Path

from tests.support.gateway_world import GatewayWorld
from tests.support.log_world import wait_until
from tests.support.nats_rights import login, server_with_rights
from tidegate.contracts.subjects import WAKE_ALL, queue_of_wake

BURST = 40
EVERY_SECONDS = 0.5


async def test_the_first_job_of_a_queue_wakes_and_not_each_of_a_burst(tmp_path: Path) -> None:
    async with (
        server_with_rights(tmp_path) as nats,
        GatewayWorld(nats, tmp_path, **login(nats, "gateway")) as world,
    ):
        woken: list[str] = []
        await world.peer.client.listen(
            WAKE_ALL, lambda message: woken.append(queue_of_wake(message.subject))
        )
        await world.peer.client.flush()
        clock = asyncio.get_running_loop().time
        begun = clock()
        await world.create(request_id="one")
        await wait_until(lambda: woken == ["default"])
        await asyncio.gather(*(world.create() for _ in range(BURST)))
        model = {"model": "sim-2", "messages": [{"role": "user", "content": "hi"}]}
        await world.create(request=model)
        await wait_until(lambda: "other" in woken)
        most = 1 + (clock() - begun) / EVERY_SECONDS
        assert woken.count("default") <= most
        assert woken.count("other") == 1
        # A burst that takes longer is told of again.
        while woken.count("default") < 3:
            await world.create()
        # What is there already brings no work.
        before = len(woken)
        await asyncio.sleep(EVERY_SECONDS)
        await world.create(request_id="one")
        await world.peer.client.flush()
        assert len(woken) == before
