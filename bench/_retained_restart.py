"""kill -9 and a new start in bench/retained.py: how long until all of it works again.

All times are seconds from the kill. The start follows at once, as a supervisor's would.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiohttp

from bench._latency_calls import Load
from bench._latency_world import World
from tests.support.log_world import connected
from tests.support.services import AUTHORIZATION, ServiceProcess
from tidegate.chassis.jetstream import JetStreamError

_PATIENCE: Final = 120.0
_PAUSE: Final = 0.02
# A gateway holds a create until NATS is back, or refuses it.
_CREATE_SECONDS: Final = 20.0
_QUESTION: Final = Load(1, 1.0, 1, 1.0, 0.0, "again-")
# NATS apart, in the order in which they are killed.
SERVICES: Final = ("gateway", "worker", "streaming")


async def restart_nats(world: World) -> dict[str, float]:
    """nats-server: until JetStream answers, every service is ready, a create is acknowledged.

    Raises:
        RuntimeError: it accepts no client for so long that it was given up.
    """
    server = world.nats[0]
    begun = time.monotonic()
    await server.kill()
    creating = asyncio.create_task(_until(lambda: _created(world.ports["http"]), begun))
    try:
        await server.start()
        made = {"JetStream answers": await _until(lambda: _answers(server.url), begun)}
        ready = await asyncio.gather(
            *(_until_ready(world.services[name], begun) for name in SERVICES)
        )
        made |= {f"{name} is ready": at for name, at in zip(SERVICES, ready, strict=True)}
        return made | {"a create is acknowledged": await creating}
    except TimeoutError as error:
        raise RuntimeError(f"given up {time.monotonic() - begun:.0f} s after the kill") from error
    finally:
        creating.cancel()


async def restart_services(world: World) -> dict[str, float]:
    """Each service in turn, until it is ready; after the gateway's, until it takes a job."""
    made, http = {}, world.ports["http"]
    for name in SERVICES:
        begun = time.monotonic()
        await world.services[name].kill()
        await world.services[name].launch()
        made[f"{name} is ready"] = await _until_ready(world.services[name], begun)
        if name == "gateway":
            made["a create is acknowledged"] = await _until(lambda: _created(http), begun)
    return made


async def _until_ready(service: ServiceProcess, begun: float) -> float:
    await service.until_ready(_PATIENCE)
    return time.monotonic() - begun


async def _until(tried: Callable[[], Awaitable[bool]], begun: float) -> float:
    """Tries until it works; seconds since `begun`."""
    async with asyncio.timeout(_PATIENCE):
        while not await tried():
            await asyncio.sleep(_PAUSE)
    return time.monotonic() - begun


async def _answers(url: str) -> bool:
    try:
        async with connected(url) as peer:
            await peer.jetstream.api("STREAM.INFO.EVENTS")
            await peer.jetstream.api("STREAM.INFO.JOBS")
    except JetStreamError:
        return False
    return True


async def _created(port: int) -> bool:
    body: dict[str, Any] = {"request": _QUESTION.request(0)}
    timeout = aiohttp.ClientTimeout(total=_CREATE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(headers=AUTHORIZATION, timeout=timeout) as session,
            session.post(f"http://127.0.0.1:{port}/v1/jobs", json=body) as response,
        ):
            return response.status == 202
    except (aiohttp.ClientError, TimeoutError):
        return False
