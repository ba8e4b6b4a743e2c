"""The step that makes or migrates streams and consumers, taken when a gateway starts.

It is taken again after every reconnect: a server that was started again has lost the streams that
it kept in memory alone, and whoever starts then would wait for them for ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.eventlog.streams import StreamOptions, apply_consumers, apply_streams
from tidegate.gateway.settings import GatewaySettings
from tidegate.providers.routes_parse import load_routes

_log = structlog.stdlib.get_logger(module=__name__)

_RETRY_SECONDS: Final = 0.5


class StreamsStep:
    """A component: `start` returns once all are there, however long JetStream takes to answer.

    The readiness condition `streams` says so, and `changed` what there was to do.
    """

    name = "streams"

    def __init__(
        self,
        jetstream: JetStream,
        options: StreamOptions,
        queues: Iterable[str],
        health: Health,
    ) -> None:
        self._jetstream = jetstream
        self._options = options
        self._queues = tuple(queues)
        self._health = health
        self.changed: list[str] = []
        health.set(self.name, False, "not looked at yet")

    async def start(self) -> None:
        """Apply them, again and again until it works."""
        while True:
            if await self._apply():
                return
            await asyncio.sleep(_RETRY_SECONDS)

    def use_queues(self, queues: Iterable[str], guard: TaskGuard) -> None:
        """Has the consumers of new queues made in the background; those of old ones stay."""
        before, self._queues = set(self._queues), tuple(queues)
        if not before.issuperset(self._queues):
            guard.spawn(self.name, self.start())

    async def stop(self, deadline: Deadline) -> None:
        """Streams outlive the process."""
        del deadline

    async def _apply(self) -> bool:
        try:
            changed = await apply_streams(self._jetstream, self._options)
            changed += await apply_consumers(self._jetstream, self._queues)
        except JetStreamError as error:
            # Each change of the reason is logged once, by the condition.
            self._health.set(self.name, False, str(error))
            return False
        if changed:
            _log.info("made or migrated", streams=", ".join(changed))
        self.changed += changed
        self._health.set(self.name, True)
        return True


def stream_options(settings: GatewaySettings) -> StreamOptions:
    """What the settings choose for the streams."""
    return StreamOptions(
        replicas=settings.stream_replicas,
        max_jobs=settings.stream_max_jobs,
        max_jobs_bytes=settings.stream_max_jobs_bytes,
        max_events_bytes=settings.stream_max_events_bytes,
    )


async def apply_once(settings: GatewaySettings, registry: CollectorRegistry) -> list[str]:
    """Takes the step without serving, and returns the names of what it changed.

    Raises:
        SettingsError: the routes, which name the queues, cannot be used.
        ServiceFault: NATS refuses us. It waits for a server that is not there.
    """
    queues = load_routes(settings.routes_file).queues
    health, guard = Health(), TaskGuard()
    nats = NatsConnection(settings, health, guard, ChassisMetrics(registry), service="gateway")
    jetstream = JetStream(nats.client)
    step = StreamsStep(jetstream, stream_options(settings), queues, health)

    async def take() -> None:
        await nats.start()
        await jetstream.start()
        await step.start()

    taking = asyncio.create_task(take(), name=step.name)
    fault = asyncio.create_task(guard.wait_fault(), name="fault")
    try:
        await asyncio.wait((taking, fault), return_when=asyncio.FIRST_COMPLETED)
        if guard.fault is not None:
            raise guard.fault
        await taking
    finally:
        taking.cancel()
        fault.cancel()
        await nats.stop(Deadline(1.0))
        await guard.cancel_all()
    return step.changed
