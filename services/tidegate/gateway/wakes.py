"""Telling that a job has come to a queue, for whoever may have to start workers for it.

A hint that nobody has to hear: who scales the workers looks at the queues anyway, only less often.
The first job of a queue is told of at once; of a burst, one every half a second.
"""

from collections.abc import Callable
from typing import Final

from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.subjects import wake_subject

_EVERY_SECONDS: Final = 0.5


class WakeThrottle:
    """Lets one through for each queue every `seconds`, the first at once. Pure; by any clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._again_at: dict[str, float] = {}

    def passes(self, queue: str, now: float) -> bool:
        """Whether one is to be told of now, which then counts as told."""
        if now < self._again_at.get(queue, now):
            return False
        self._again_at[queue] = now + self._seconds
        return True


class Wakes:
    """Tells of the jobs that were accepted; `monotonic` gives seconds of a clock."""

    def __init__(
        self, nats: NatsConnection, guard: TaskGuard, monotonic: Callable[[], float]
    ) -> None:
        self._nats = nats
        self._guard = guard
        self._monotonic = monotonic
        self._throttle = WakeThrottle(_EVERY_SECONDS)

    def accepted(self, queue: str) -> None:
        """A job was. Returns at once, and never fails: the create that it belongs to has worked."""
        if self._throttle.passes(queue, self._monotonic()):
            self._guard.spawn("wake", self._nats.hint(wake_subject(queue)))
