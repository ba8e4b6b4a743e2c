"""What workers tell of themselves, kept by queue and made into one word of all.

Counters are of a worker's whole life. What came since the word before is put into running sums that
fade, so that a mean is of the last minutes and of all workers, in proportion to their jobs.
"""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Final

from tidegate.contracts.load import WorkerLoad
from tidegate_operator.signals import Told

# Three words that did not come: the worker is gone, or cannot be heard.
_FRESH_SECONDS: Final = 6.5
# Sums fade by half in so many seconds in which jobs end.
_HALF_LIFE: Final = 60.0
_NANO: Final = 1e9
# Jobs that a worker which was not heard before counts for at most.
_MOST_OF_UNKNOWN: Final = 50


@dataclass(slots=True)
class _Heard:
    load: WorkerLoad
    at: float


@dataclass(slots=True)
class _Sums:
    """Of jobs that ended lately; `at` is when they were last added to."""

    ended: float = 0.0
    busy: float = 0.0
    tokens: float = 0.0
    nano_usd: float = 0.0
    priced: float = 0.0
    at: float = 0.0

    def add(self, new: WorkerLoad, old: WorkerLoad | None, now: float) -> None:
        ended = new.ended - (old.ended if old else 0)
        if ended <= 0:
            return
        # What one that was not heard before did may be of any time: it tells, but not for long.
        weight = 1.0 if old else min(1.0, _MOST_OF_UNKNOWN / ended)
        fade = 0.5 ** (max(now - self.at, 0.0) / _HALF_LIFE)
        self.at = now
        for name in _SUMS:
            came = getattr(new, _OF_LOAD[name]) - (getattr(old, _OF_LOAD[name]) if old else 0)
            setattr(self, name, getattr(self, name) * fade + came * weight)


_OF_LOAD: Final = {
    "ended": "ended",
    "busy": "busy_seconds",
    "tokens": "output_tokens",
    "nano_usd": "nano_usd",
    "priced": "priced",
}
_SUMS: Final = tuple(_OF_LOAD)


class Workers:
    """`clock` never goes back; seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: dict[str, dict[str, _Heard]] = {}
        self._sums: dict[str, _Sums] = {}

    def hear(self, load: WorkerLoad) -> None:
        """A worker has told how a queue stands with it."""
        now = self._clock()
        workers = self._heard.setdefault(load.queue, {})
        before = workers.get(load.worker)
        if before is None:
            # A replica that follows is never asked; workers come and go all the same.
            self._drop_stale(load.queue)
        workers[load.worker] = _Heard(load, now)
        sums = self._sums.setdefault(load.queue, _Sums(at=now))
        sums.add(load, before.load if before else None, now)

    def told(self, queue: str) -> Told | None:
        """What all that tell of a queue say together; None where nobody does."""
        loads = list(self._fresh(queue))
        if not loads:
            return None
        sums = self._sums[queue]
        intake = [load for load in loads if not load.draining]
        return Told(
            running=sum(load.running for load in loads),
            waiting=sum(load.waiting for load in loads),
            blocked=bool(intake) and all(load.blocked for load in intake),
            service_seconds=_mean(sums.busy, sums.ended),
            tokens_per_job=_mean(sums.tokens, sums.ended),
            usd_per_job=_mean(sums.nano_usd / _NANO, sums.priced),
            draining=sum(load.running for load in loads if load.draining),
        )

    def running_by_host(self, queue: str) -> dict[str, int]:
        """Jobs that each pod holds, by the pod's name; of those that take more."""
        return {load.host: load.running for load in self._fresh(queue) if not load.draining}

    def forget_all_but(self, queues: Set[str]) -> None:
        """There are pools for these queues alone."""
        for queue in self._sums.keys() - queues:
            del self._heard[queue], self._sums[queue]

    def _fresh(self, queue: str) -> Iterator[WorkerLoad]:
        self._drop_stale(queue)
        return (heard.load for heard in self._heard.get(queue, {}).values())

    def _drop_stale(self, queue: str) -> None:
        since = self._clock() - _FRESH_SECONDS
        workers = self._heard.get(queue, {})
        for name in [name for name, heard in workers.items() if heard.at < since]:
            del workers[name]


def _mean(total: float, number: float) -> float | None:
    return total / number if number > 0 else None
