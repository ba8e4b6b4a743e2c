"""A log reader's life in a process: its loop, a look at every tail after a reconnect, its end."""

import contextlib

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.eventlog.reader import LogReader


class Following:
    """A component that keeps `reader` running. Add it after JetStream, before whoever follows."""

    name = "log-reader"

    def __init__(self, reader: LogReader, nats: NatsConnection, guard: TaskGuard) -> None:
        self._reader = reader
        self._nats = nats
        self._guard = guard
        self._at_end = contextlib.ExitStack()

    async def start(self) -> None:
        """Begin the loop; its end is a fault."""
        self._at_end.callback(self._nats.on_reconnect(self._verify))
        loop = self._guard.spawn_eternal(self.name, self._reader.run())
        self._at_end.callback(loop.cancel)

    async def stop(self, deadline: Deadline) -> None:
        """End all reading."""
        del deadline  # nothing to hand back
        self._at_end.close()
        await self._reader.stop()

    async def _verify(self) -> None:
        # What was republished while we were away is lost to us.
        self._reader.verify_all()
