"""A server that froze: a process must not wait for it while another one would answer."""

import asyncio
from pathlib import Path

from tests.support.nats_server import NatsServer
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard


async def test_a_frozen_server_with_unread_bytes_is_left_for_the_next(tmp_path: Path) -> None:
    """Else one large answer would keep all jobs of a worker standing until the server thaws."""
    config, guard, again = "max_payload: 8MB", TaskGuard(), asyncio.Event()

    async def reconnected() -> None:
        again.set()

    async with (
        NatsServer(tmp_path, config=config) as one,
        NatsServer(tmp_path, config=config) as two,
    ):
        settings = NatsSettings(nats_url=f"{one.url},{two.url}", nats_ping_interval_seconds=0.5)
        metrics = ChassisMetrics(make_registry("test"))
        nats = NatsConnection(settings, Health(), guard, metrics, service="test")
        nats.on_reconnect(reconnected)
        await nats.start()
        assert nats.client.connected_url is not None
        frozen, healthy = (one, two) if nats.client.connected_url.port == one.port else (two, one)
        frozen.freeze()
        try:
            for _ in range(4):
                await nats.client.publish("void", bytes(8_000_000))
            async with asyncio.timeout(40):
                await again.wait()
            assert nats.client.connected_url.port == healthy.port
        finally:
            frozen.thaw()
            await nats.stop(Deadline(5))
            await guard.cancel_all()
