"""The batch jobs that hold a slot while they wait for their provider, and the queues that rest."""

from collections import Counter
from collections.abc import Callable

from prometheus_client import Gauge

from tidegate.providers.breakers import Breakers
from tidegate.providers.routes import Routes, Target
from tidegate.worker.plan import batch_rests, may_wait


class BatchWaits:
    """Counts them by queue, and lets no more in than may wait. `slots` are those of each queue."""

    def __init__(self, slots: int, gauge: Gauge) -> None:
        self.slots = slots
        self._gauge = gauge
        self._waiting: Counter[str] = Counter()

    def count(self, queue: str) -> int:
        """How many of a queue wait."""
        return self._waiting[queue]

    def enter(self, queue: str) -> bool:
        """Whether one more may wait; it is counted until it leaves."""
        if not may_wait(self.slots, self._waiting[queue]):
            return False
        self._waiting[queue] += 1
        self._gauge.inc()
        return True

    def leave(self, queue: str) -> None:
        """One that entered waits no more."""
        self._waiting[queue] -= 1
        self._gauge.dec()


class BatchRests:
    """Says of a queue whether its batch jobs are to be left alone, and whether all its jobs wait.

    `clock` is the epoch's.
    """

    def __init__(
        self,
        waits: BatchWaits,
        breakers: Breakers,
        routes: Callable[[], Routes],
        clock: Callable[[], float],
    ) -> None:
        self._waits = waits
        self._breakers = breakers
        self._routes = routes
        self._clock = clock
        self._known: Routes | None = None
        self._targets: dict[str, list[Target]] = {}

    def __call__(self, queue: str) -> bool:
        """Whether nothing of the queue's batch could run now."""
        return batch_rests(
            self._waits.slots,
            self._waits.count(queue),
            self._breakers.open_until(self._targets_of(queue)),
            self._clock(),
        )

    def blocked(self, queue: str) -> bool:
        """Whether all that the queue's models may be answered by is behind an open breaker."""
        return self._breakers.all_open(self._targets_of(queue))

    def _targets_of(self, queue: str) -> list[Target]:
        """All that the queue's models may be answered by, fallbacks included."""
        routes = self._routes()
        if routes is not self._known:
            self._known, self._targets = routes, {}
        if queue not in self._targets:
            models = [route.model for route in routes.values() if route.queue == queue]
            self._targets[queue] = [target for model in models for target in routes.plan(model)]
        return self._targets[queue]
