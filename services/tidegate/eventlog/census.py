"""The side of presence that asks: hears of readers who left, and asks the fleet who is there."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.presence import decode_told, encode_asked
from tidegate.contracts.subjects import HERE_ALL, LEFT_ALL, readers_subject, tenant_and_job

# Of those who listen for readers that leave, one hears of each.
_QUEUE_GROUP: Final = "lingers"


class Census:
    """`answer_seconds` is how long the fleet has to answer."""

    def __init__(self, nats: NatsConnection, *, answer_seconds: float = 1.0) -> None:
        self._nats = nats
        self._answer_seconds = answer_seconds
        self._asked: dict[tuple[str, str], _Answers] = {}
        self._left: Subscription | None = None

    async def open(self, on_left: Callable[[str, str], None]) -> None:
        """Calls `on_left` with tenant and job of this process's share of all leavings."""

        async def left(message: Msg) -> None:
            on_left(*tenant_and_job(message.subject))

        await self._nats.client.subscribe(HERE_ALL, cb=self._on_here)
        self._left = await self._nats.client.subscribe(LEFT_ALL, queue=_QUEUE_GROUP, cb=left)

    async def close(self) -> None:
        """Hears of no more that leave."""
        if self._left is not None:
            with contextlib.suppress(NatsError):  # Not connected, or closed: nothing comes.
                await self._left.unsubscribe()

    async def ask(self, tenant: str, job_id: str, *, within_ms: int) -> int | None:
        """Milliseconds since the last reader left, if less than `within_ms`; 0: there is one.

        None: nobody answered, which says something only where NATS is known to work. One question
        for each job at a time.

        Raises:
            Unavailable: there is no connection.
        """
        answers = self._asked[tenant, job_id] = _Answers()
        try:
            await self._nats.publish(readers_subject(tenant, job_id), encode_asked(within_ms))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._answer_seconds):
                    await answers.read_now.wait()
            return answers.least_idle_ms
        finally:
            del self._asked[tenant, job_id]

    async def _on_here(self, message: Msg) -> None:
        answers = self._asked.get(tenant_and_job(message.subject))
        if answers is not None:
            answers.take(decode_told(message.data).idle_ms)


class _Answers:
    """What the fleet says to one question; a reader that is there ends it."""

    def __init__(self) -> None:
        self.least_idle_ms: int | None = None
        self.read_now = asyncio.Event()

    def take(self, idle_ms: int) -> None:
        if self.least_idle_ms is None or idle_ms < self.least_idle_ms:
            self.least_idle_ms = idle_ms
        if idle_ms == 0:
            self.read_now.set()
