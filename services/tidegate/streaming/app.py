"""The composition root of streaming."""

import asyncio
from dataclasses import dataclass

from tidegate.chassis.component import Component, Deadline
from tidegate.chassis.http_cors import Origins
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.keyring import Keyring, make_keyring
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import listen_addresses, load_settings
from tidegate.chassis.tasks import TaskGuard
from tidegate.eventlog.following import Following
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.presence import Presence
from tidegate.eventlog.reader import LogReader
from tidegate.streaming.feed import FeedBook
from tidegate.streaming.gateway_client import GatewayClient
from tidegate.streaming.log import StreamsAwaited
from tidegate.streaming.metrics import StreamingMetrics
from tidegate.streaming.settings import StreamingSettings
from tidegate.streaming.socket import House, Limits
from tidegate.streaming.sse import SseApi, SseLimits
from tidegate.streaming.websocket import WebSocketServer


def run() -> int:
    """Serve in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(StreamingSettings)))


async def main(settings: StreamingSettings) -> None:
    """Serve until a signal, then drain. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="streaming")
    await make_streaming(settings).lifecycle.run()


@dataclass(frozen=True, slots=True)
class Streaming:
    """A streaming process, and its servers, whose addresses are known once it has started."""

    lifecycle: Lifecycle
    websocket: WebSocketServer
    sse: HttpServer
    health: HttpServer


def make_streaming(settings: StreamingSettings) -> Streaming:
    """The whole of streaming, to be called on the event loop that will run it.

    Raises:
        SettingsError: keys or tracing cannot be as the settings say.
    """
    # Whatever can be wrong with the settings is said before anything begins.
    guard = TaskGuard()
    keyring = make_keyring(settings, guard, listen_addresses(settings))
    base = make_base(
        "streaming", nats=settings, tracing=settings, pages=settings, drain=settings, guard=guard
    )
    house = _make_house(settings, base, keyring)
    websocket, sse = _make_websocket(settings, house, guard), _make_sse(settings, house)
    lifecycle = base.compose(
        StreamsAwaited(base.jetstream, base.health),
        Following(house.reader, base.nats, guard),
        Presence(house.reader, base.nats, guard),
        house.gateway,
        Doors(websocket, sse),
        before_nats=[keyring],
    )
    return Streaming(lifecycle, websocket, sse, base.pages)


def _make_house(settings: StreamingSettings, base: Base, keyring: Keyring) -> House:
    log_metrics = EventLogMetrics(base.registry)
    return House(
        reader=LogReader(base.nats.client, base.jetstream, metrics=log_metrics),
        feeds=FeedBook(),
        keyring=keyring,
        gateway=GatewayClient(
            settings.gateway_target,
            timeout=settings.gateway_timeout_seconds,
            max_message_bytes=2 * settings.websocket_max_frame_bytes,
            tracing=base.tracing,
        ),
        metrics=StreamingMetrics(base.registry),
        chassis_metrics=base.chassis_metrics,
        tracing=base.tracing,
        limits=Limits(
            max_jobs=settings.websocket_max_jobs,
            buffer_bytes=settings.websocket_buffer_bytes,
            hello_seconds=settings.websocket_hello_seconds,
            stall_seconds=settings.stream_stall_seconds,
        ),
    )


class Doors:
    """Both surfaces as one component, so that a drain ends them side by side."""

    name = "doors"

    def __init__(self, *doors: Component) -> None:
        self._doors = doors

    async def start(self) -> None:
        """Open them, one after the other."""
        for door in self._doors:
            await door.start()

    async def stop(self, deadline: Deadline) -> None:
        """Close them together."""
        await asyncio.gather(*(door.stop(deadline) for door in self._doors))


def _make_websocket(settings: StreamingSettings, house: House, guard: TaskGuard) -> WebSocketServer:
    return WebSocketServer(
        settings.websocket_listen,
        house,
        guard,
        origins=_origins(settings),
        max_sockets=settings.websocket_max_sockets,
        max_frame_bytes=settings.websocket_max_frame_bytes,
        ping_seconds=settings.websocket_ping_seconds,
        spread_seconds=settings.stream_drain_spread_seconds,
    )


def _make_sse(settings: StreamingSettings, house: House) -> HttpServer:
    api = SseApi(
        house.reader,
        house.keyring,
        limits=SseLimits(
            max_streams=settings.sse_max_streams,
            heartbeat_seconds=settings.sse_heartbeat_seconds,
            stall_seconds=settings.stream_stall_seconds,
            # The HTTP server gives its handlers somewhat less than half of a drain.
            spread_seconds=min(
                settings.stream_drain_spread_seconds,
                (settings.drain_seconds - settings.drain_notice_seconds) * 0.4,
            ),
        ),
        metrics=house.metrics,
        tracing=house.tracing,
    )
    return HttpServer(
        "sse", api.app(house.chassis_metrics, _origins(settings)), settings.sse_listen
    )


def _origins(settings: StreamingSettings) -> Origins:
    return Origins.of(settings, development=settings.development)
