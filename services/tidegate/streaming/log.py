"""The step that waits for the streams, which the gateway makes."""

import asyncio
from typing import Final

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.eventlog.streams import streams_exist

_LOOK_SECONDS: Final = 0.5


class StreamsAwaited:
    """A component: `start` returns once the streams exist, however long that takes.

    The readiness condition `streams` says so; without the streams every job would seem unknown.
    """

    name = "streams"

    def __init__(self, jetstream: JetStream, health: Health) -> None:
        self._jetstream = jetstream
        self._health = health
        health.set(self.name, False, "not looked for yet")

    async def start(self) -> None:
        """Look for them, again and again until they are there."""
        while True:
            if await self._exist():
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self._health.set(self.name, True)

    async def stop(self, deadline: Deadline) -> None:
        """Streams outlive the process."""

    async def _exist(self) -> bool:
        try:
            exist = await streams_exist(self._jetstream)
        except JetStreamError:
            self._health.set(self.name, False, "JetStream does not answer")
            return False
        if not exist:
            self._health.set(self.name, False, "waiting for the gateway to make the streams")
        return exist
