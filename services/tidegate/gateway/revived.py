"""Has what nats-server brought back of sealed logs purged: at the start and on every reconnect."""

import structlog

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.subjects import SHARDS
from tidegate.eventlog.revived import purge_revived
from tidegate.gateway.metrics import GatewayMetrics

_log = structlog.stdlib.get_logger(module=__name__)

_BACKOFF = Backoff(0.5, 10.0)


class RevivedLogs:
    """A component. All gateways do it, for none knows of the others, and twice does no harm."""

    name = "revived-logs"

    def __init__(
        self,
        nats: NatsConnection,
        jetstream: JetStream,
        guard: TaskGuard,
        metrics: GatewayMetrics,
    ) -> None:
        self._nats = nats
        self._jetstream = jetstream
        self._guard = guard
        self._metrics = metrics

    async def start(self) -> None:
        """Begin in the background."""
        self._nats.on_reconnect(self._sweep)
        self._guard.spawn(self.name, self._sweep())

    async def stop(self, deadline: Deadline) -> None:
        """What is half done, the next start ends."""
        del deadline

    async def _sweep(self) -> None:
        purged = sum([await self._sweep_shard(shard) for shard in range(SHARDS)])
        if purged:
            self._metrics.revived.inc(purged)
            _log.info("purged what NATS had brought back", logs=purged)

    async def _sweep_shard(self, shard: int) -> int:
        tries = 0
        while True:
            try:
                return await purge_revived(self._jetstream, shard)
            except JetStreamError:
                await _BACKOFF.pause(tries)
                tries += 1
