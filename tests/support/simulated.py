"""The simulator in this process, as a provider that a test can have misbehave.

async with SimulatedProvider(tokens_per_second=20) as provider:
    await provider.fault(cut_after=5, calls=1)
"""

import asyncio
import contextlib
from typing import Any, Self

import aiohttp
from prometheus_client import CollectorRegistry

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.settings import ListenAddress
from tidegate.simulator.app import make_server
from tidegate.simulator.settings import SimulatorSettings

SEED = 1

Stats = dict[str, Any]


class SimulatedProvider:
    """A simulator in this process; `settings` are its own, without their prefix."""

    http: aiohttp.ClientSession

    def __init__(self, **settings: Any) -> None:
        self._server = simulator(**settings)
        self._stack = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        """Its base."""
        return f"http://{self._server.address}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        self._stack.push_async_callback(self._server.stop, Deadline(1))
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession(self.url))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def fault(self, **fault: Any) -> None:
        """Has it misbehave; see its control API."""
        async with self.http.post("/faults", json=fault) as response:
            assert response.status == 200, await response.text()

    async def heal(self) -> None:
        """Has it behave again."""
        async with self.http.delete("/faults") as response:
            assert response.status == 204, await response.text()

    async def stats(self, **query: str) -> Stats:
        """What it saw."""
        async with self.http.get("/stats", params=query) as response:
            stats: Stats = await response.json()
            return stats

    async def until_started(self, number: int) -> None:
        """Returns when so many calls have reached it."""
        while (await self.stats())["started"] < number:
            await asyncio.sleep(0.01)


def simulator(**settings: Any) -> HttpServer:
    """The simulator in this process; `settings` without their prefix."""
    quick = {"ttft_seconds": 0.02, "tokens_per_second": 200.0, "seed": SEED}
    given = {f"simulator_{name}": value for name, value in (quick | settings).items()}
    made = SimulatorSettings(simulator_listen=ListenAddress("127.0.0.1:0"), **given)
    return make_server(made, Health(), CollectorRegistry())
