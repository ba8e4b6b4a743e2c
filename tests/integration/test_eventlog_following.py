"""Without these a client of a process that lost NATS for a moment would wait for ever."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from tests.support.log_client import Client, slowly
from tests.support.log_world import LogWorld, completed
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy
from tidegate.chassis.component import Deadline
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    NatsSettings,
    TracingSettings,
)
from tidegate.eventlog.following import Following
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader, ReaderOptions


class Settings(NatsSettings, HealthSettings, TracingSettings, DrainSettings):
    """Composed as services do it."""


class Process:
    """A process that follows logs, and looks for lost messages after a reconnect only."""

    def __init__(self, port: int) -> None:
        self.base = _base(port)
        self.reader = LogReader(
            self.base.nats.client,
            self.base.jetstream,
            metrics=EventLogMetrics(CollectorRegistry()),
            options=ReaderOptions(verify_after=3600),
        )
        self.following = Following(self.reader, self.base.nats, self.base.guard)
        self.lifecycle = self.base.compose(self.following)


def _base(port: int) -> Base:
    it = Settings(
        nats_url=f"nats://127.0.0.1:{port}",
        nats_ping_interval_seconds=0.2,
        health_listen=ListenAddress("127.0.0.1:0"),
        drain_seconds=5,
    )
    return make_base("test", nats=it, tracing=it, pages=it, drain=it)


@pytest.fixture
async def proxy(nats_server: NatsServer) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(nats_server.port) as made:
        yield made


async def test_what_was_written_during_an_outage_arrives_after_it(
    world: LogWorld, proxy: TcpProxy
) -> None:
    process = Process(proxy.port)
    async with process.lifecycle:
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(process.reader, job)
        await slowly(writer, 5)
        await client.has(6)
        proxy.refusing = True
        proxy.cut()
        await slowly(writer, 5, prefix="b")
        await writer.seal(completed())
        proxy.refusing = False
        assert await client.task == await world.stored(job)


async def test_after_its_end_nothing_reads(world: LogWorld, nats_server: NatsServer) -> None:
    del world
    process = Process(nats_server.port)
    async with process.lifecycle:
        await process.following.stop(Deadline(1))
        await asyncio.sleep(0)
        assert "log-reader" not in {task.get_name() for task in asyncio.all_tasks()}
        assert process.base.guard.fault is None
