"""JetStream as a component: it can be asked from here on."""

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream


class JetStreamReplies:
    """Subscribes for JetStream's replies; add it right after the connection."""

    name = "jetstream"

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def start(self) -> None:
        """Subscribe; the library renews it after every reconnect."""
        await self._jetstream.start()

    async def stop(self, deadline: Deadline) -> None:
        """Nothing: it ends with the connection, when nobody asks any more."""
