"""Without these a service that waits would look dead, or wait where it should give up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.nats_server import NatsServer
from tidegate.chassis.component import Deadline
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    NatsSettings,
    TracingSettings,
)
from tidegate.chassis.tasks import ServiceFault

ANY_PORT = ListenAddress("127.0.0.1:0")


class Settings(NatsSettings, HealthSettings, TracingSettings, DrainSettings):
    """Composed as services do it."""


def base(nats_url: str) -> Base:
    it = Settings(nats_url=nats_url, health_listen=ANY_PORT, drain_seconds=5)
    return make_base("test", nats=it, tracing=it, pages=it, drain=it)


class Part:
    """Waits at its start until it is told to go on, having asked JetStream."""

    name = "part"

    def __init__(self, made: Base, *, asks: bool = True) -> None:
        self._base = made
        self._asks = asks
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def start(self) -> None:
        if self._asks:
            await self._base.jetstream.api("INFO")
        self.entered.set()
        await self.release.wait()

    async def stop(self, deadline: Deadline) -> None:
        pass


class Broken(Part):
    async def start(self) -> None:
        raise ServiceFault(self.name, "cannot be used")


async def page(made: Base, name: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{made.pages.address}/{name}") as response,
    ):
        return response.status, await response.text()


@contextlib.asynccontextmanager
async def starting(made: Base) -> AsyncIterator[asyncio.Task[None]]:
    """The lifecycle on its way up, as a task."""
    task = asyncio.create_task(made.lifecycle.start())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await made.lifecycle.stop()


async def test_health_is_answered_while_everything_else_still_waits(free_port: int) -> None:
    made = base(f"nats://127.0.0.1:{free_port}")
    part = Part(made, asks=False)
    made.compose(before_nats=[part])
    async with starting(made):
        await part.entered.wait()
        status, text = await page(made, "readyz")
        assert status == 503
        assert "nats" in text
        assert (await page(made, "livez"))[0] == 200
        assert "tidegate_ready 0.0" in (await page(made, "metrics"))[1]


async def test_a_part_can_ask_jetstream_from_its_start_on(nats_server: NatsServer) -> None:
    made = base(nats_server.url)
    part = Part(made)
    made.compose(part)
    async with starting(made) as task:
        await part.entered.wait()
        assert (await page(made, "readyz"))[0] == 503
        part.release.set()
        await task
        assert (await page(made, "readyz"))[0] == 200
        metrics = (await page(made, "metrics"))[1]
        assert "tidegate_ready 1.0" in metrics
        assert "tidegate_nats_connected 1.0" in metrics


async def test_what_is_wrong_without_nats_too_is_said_without_waiting(free_port: int) -> None:
    made = base(f"nats://127.0.0.1:{free_port}")
    made.compose(Part(made), before_nats=[Broken(made)])
    async with starting(made) as task:
        with pytest.raises(ServiceFault, match="cannot be used"):
            await task


async def test_a_fault_of_any_part_is_one_of_the_process(nats_server: NatsServer) -> None:
    """Else a part could fail and the process go on, for its guard would be another."""
    made = base(nats_server.url)
    made.compose()
    async with starting(made) as task:
        await task
        made.guard.fail("part", "gone")
        assert made.lifecycle.guard.fault is not None
