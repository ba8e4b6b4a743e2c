"""How much may wait: bounds per queue and class, and per tenant.

Counts are asked of JetStream at most twice a second and carried on with what this gateway added
since. They are approximate: other gateways' creates of the last moment are missing, and so are the
jobs that ended. The stream's own limits, which JetStream keeps exactly, stand behind them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.contracts.errors import Reason, ResourceExhausted
from tidegate.contracts.subjects import JOBS_STREAM, consumer_name, jobs_of_tenant

_FRESH_SECONDS: Final = 0.5
# No create waits longer for a count.
_PATIENCE_SECONDS: Final = 0.25
# Spread, so that those who were refused together do not come back together.
_RETRY_SECONDS: Final = (1.0, 10.0)

K = TypeVar("K")


@dataclass(slots=True)
class _Count:
    value: int = 0
    read_at: float = float("-inf")
    added: int = 0
    reading: bool = False


class _Counts(Generic[K]):
    """Counts by key, each read when it is asked for and old; `clock` is monotonic."""

    def __init__(self, read: Callable[[K], Awaitable[int]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._counts: dict[K, _Count] = {}

    async def get(self, key: K) -> int:
        """The count, at most half a second old where JetStream answers."""
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
        if not count.reading and self._clock() - count.read_at > _FRESH_SECONDS:
            await self._refresh(key, count)
        return count.value + count.added

    def add(self, key: K) -> None:
        """One more, known to this process before JetStream says so."""
        self._counts[key].added += 1

    async def _refresh(self, key: K, count: _Count) -> None:
        count.reading = True
        before = count.added
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                count.value = await self._read(key)
            count.added -= before
        except (JetStreamError, TimeoutError):
            pass  # The old count stands; whether JetStream works, the publish will tell.
        finally:
            count.read_at, count.reading = self._clock(), False


class Admission:
    """Decides whether one more job may wait."""

    def __init__(
        self,
        jetstream: JetStream,
        *,
        max_waiting: int,
        max_in_flight: int,
        clock: Callable[[], float],
    ) -> None:
        self._jetstream = jetstream
        self._max_waiting = max_waiting
        self._max_in_flight = max_in_flight
        self._waiting = _Counts(self._count_waiting, clock)
        self._in_flight = _Counts(self._count_in_flight, clock)

    async def admit(self, tenant: str, queue: str, job_class: str) -> None:
        """Returns if there is room.

        Raises:
            ResourceExhausted: QUEUE_FULL or TOO_MANY_JOBS_IN_FLIGHT.
        """
        if await self._waiting.get((queue, job_class)) >= self._max_waiting:
            raise queue_full()
        if await self._in_flight.get(tenant) >= self._max_in_flight:
            raise ResourceExhausted(
                f"about {self._max_in_flight} jobs of this tenant wait or run already",
                reason=Reason.TOO_MANY_JOBS_IN_FLIGHT,
                retry_after=_jittered(),
            )

    def admitted(self, tenant: str, queue: str, job_class: str) -> None:
        """Counts a job that was stored after `admit`."""
        self._waiting.add((queue, job_class))
        self._in_flight.add(tenant)

    async def _count_waiting(self, key: tuple[str, str]) -> int:
        queue, job_class = key
        verb = f"CONSUMER.INFO.{JOBS_STREAM}.{consumer_name(queue, job_class)}"
        return int((await self._jetstream.api(verb))["num_pending"])

    async def _count_in_flight(self, tenant: str) -> int:
        # What is pending after the first: 0.2 ms for hundreds of jobs, 3 ms for 40,000, where
        # STREAM.INFO with a filter takes 80.
        batch = await self._jetstream.direct_batch(
            JOBS_STREAM, jobs_of_tenant(tenant), 1, 1, max_bytes=1
        )
        return len(batch.messages) + batch.pending


def queue_full() -> ResourceExhausted:
    """The refusal for want of room, with a time to come back."""
    return ResourceExhausted("the queue is full", retry_after=_jittered())


def _jittered() -> float:
    return random.uniform(*_RETRY_SECONDS)
