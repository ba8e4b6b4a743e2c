"""Hears what workers and gateways say over NATS: how full they are, and that a job has come."""

import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.load import UndecodableLoad, decode_load
from tidegate.contracts.subjects import LOAD_ALL, WAKE_ALL, queue_of_wake
from tidegate_operator.fleet import Fleet
from tidegate_operator.workers import Workers

_log = structlog.stdlib.get_logger(module=__name__)

# Who follows knows no pools. It forgets a queue of which it has heard nothing for so long.
_FORGOTTEN_SECONDS: Final = 600.0


class _Message(Protocol):
    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...


class Hearing:
    """A component, on every replica: whoever leads next knows the workers already.

    `clock` never goes back; seconds.
    """

    name = "hearing"

    def __init__(
        self,
        nats: NatsConnection,
        workers: Workers,
        fleet: Fleet,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nats = nats
        self._workers = workers
        self._fleet = fleet
        self._clock = clock
        self._complained = False
        # When each queue was told of last; the one that was not for longest comes first.
        self._told_at: dict[str, float] = {}

    async def start(self) -> None:
        """Listens."""
        await self._nats.client.listen(LOAD_ALL, self._on_load)
        await self._nats.client.listen(WAKE_ALL, self._on_wake)

    async def stop(self, deadline: Deadline) -> None:
        """Has the pools left alone while NATS is there: its end is not to look like a loss."""
        await self._fleet.stop(deadline)

    def _on_load(self, message: _Message) -> None:
        try:
            load = decode_load(message.data)
        except UndecodableLoad as error:
            # A worker of a newer release says it every two seconds.
            if not self._complained:
                _log.warning("a worker was not understood", why=str(error))
            self._complained = True
            return
        self._workers.hear(load)
        self._forget_before(load.queue)

    def _forget_before(self, told: str) -> None:
        """The leader's fleet forgets by its pools."""
        now = self._clock()
        self._told_at.pop(told, None)
        self._told_at[told] = now
        known = len(self._told_at)
        while now - self._told_at[first := next(iter(self._told_at))] > _FORGOTTEN_SECONDS:
            del self._told_at[first]
        if len(self._told_at) < known and not self._fleet.leads:
            self._workers.forget_all_but(self._told_at.keys())

    def _on_wake(self, message: _Message) -> None:
        self._fleet.job_came(queue_of_wake(message.subject))
