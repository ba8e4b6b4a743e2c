"""A queue and its pods in simulated time: events in order, nothing random, no clock.

Jobs are begun in the order in which they came, each in a free slot of the pod that runs the fewest.
A pod works `cold_start` seconds after it was asked for. One that is taken away takes no more jobs
and goes when its last one ends: first those that do not work yet, then those that run the fewest.

While a provider is out no job ends. Its workers notice after `BREAKER_SECONDS`, as their circuit
breakers open: what runs goes back to the queue, and nothing is begun until as long after its end.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Any, Final, Protocol

BREAKER_SECONDS: Final = 5.0
# How often the depth is noted, for the plots.
_SAMPLE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs as (when it comes, how long it runs) in order of time, and what else happens.

    `seconds` is how long one looks; it leaves time enough to go back to zero. `outage` is from when
    till when no provider answers.
    """

    name: str
    title: str
    jobs: Sequence[tuple[float, float]]
    seconds: float
    outage: tuple[float, float] | None = None


@dataclass(slots=True)
class Job:
    came: float
    service: float
    begun: float | None = None
    # Rises whenever it is begun: an end that belongs to an earlier time is none.
    attempt: int = 0
    pod: "Pod | None" = None


@dataclass(slots=True)
class Pod:
    asked: float
    ready: bool = False
    leaving: bool = False
    jobs: set[int] = field(default_factory=set)


class Scaler(Protocol):
    def first(self) -> float:
        """When it acts first."""
        ...

    def act(self, world: "World") -> float:
        """Looks at the world, may scale it, and says when it acts next."""
        ...

    def woken(self, now: float) -> float | None:
        """A job has come: when to act, where that is earlier than what was said."""
        ...


class _Event(IntEnum):
    """What happens; at the same moment in this order."""

    END = 0
    READY = 1
    OUTAGE = 2
    COME = 3
    ACT = 4
    SAMPLE = 5


class World:
    """One run of a trace with one scaler."""

    def __init__(self, trace: Trace, scaler: Scaler, concurrency: int, cold_start: float) -> None:
        self.now = 0.0
        self.replicas = 0
        self.pods: list[Pod] = []
        self.jobs = [Job(came, service) for came, service in trace.jobs]
        self.running = 0
        self.deliveries = 0
        self.busy_seconds = 0.0
        self.ended = 0
        self.last_end = 0.0
        self.blocked = False
        self.pod_seconds = 0.0
        # (when, how many are asked for from then on)
        self.changes: list[tuple[float, int]] = [(0.0, 0)]
        self.ready_at: list[float] = []
        # (when, age of the oldest job that waits)
        self.samples: list[tuple[float, float]] = []
        self._trace, self._scaler = trace, scaler
        self._concurrency, self._cold_start = concurrency, cold_start
        # Positions of jobs: those never delivered, and those handed back.
        self.pending: deque[int] = deque()
        self.returned: deque[int] = deque()
        self._stuck = False
        self._events: list[tuple[float, int, int, Any]] = []
        self._order = count()
        self._acts = 0

    @property
    def depth(self) -> int:
        """All jobs that came and have not ended."""
        return len(self.pending) + len(self.returned) + self.running

    @property
    def oldest(self) -> float | None:
        """Age of the oldest job that was never delivered."""
        return self.now - self.jobs[self.pending[0]].came if self.pending else None

    def run(self) -> None:
        """To the trace's end."""
        self._begin()
        handlers: dict[_Event, Callable[[Any], None]] = {
            _Event.END: self._end,
            _Event.READY: self._ready,
            _Event.OUTAGE: self._outage,
            _Event.COME: self._come,
            _Event.ACT: self._act,
            _Event.SAMPLE: self._sample,
        }
        while self._events and self._events[0][0] <= self._trace.seconds:
            self.now, kind, _, what = heapq.heappop(self._events)
            handlers[_Event(kind)](what)
        self.now = self._trace.seconds
        self.pod_seconds += sum(self.now - pod.asked for pod in self.pods)

    def _begin(self) -> None:
        for position, job in enumerate(self.jobs):
            self._at(job.came, _Event.COME, position)
        self._at(self._scaler.first(), _Event.ACT, self._acts)
        self._at(0.0, _Event.SAMPLE, None)
        if self._trace.outage is not None:
            begins, ends = self._trace.outage
            self._at(begins, _Event.OUTAGE, "stuck")
            self._at(begins + BREAKER_SECONDS, _Event.OUTAGE, "open")
            self._at(ends + BREAKER_SECONDS, _Event.OUTAGE, "over")

    def _at(self, when: float, kind: _Event, what: Any) -> None:
        heapq.heappush(self._events, (when, kind, next(self._order), what))

    def scale(self, replicas: int) -> None:
        """Asks for so many pods, from now on."""
        if replicas == self.replicas:
            return
        self.replicas = replicas
        self.changes.append((self.now, replicas))
        staying = [pod for pod in self.pods if not pod.leaving]
        for _ in range(replicas - len(staying)):
            pod = Pod(self.now)
            self.pods.append(pod)
            self._at(self.now + self._cold_start, _Event.READY, pod)
        staying.sort(key=lambda pod: (pod.ready, len(pod.jobs), -pod.asked))
        for pod in staying[: max(0, len(staying) - replicas)]:
            pod.leaving = True
            self._leave(pod)

    def _leave(self, pod: Pod) -> None:
        if pod.leaving and not pod.jobs:
            self.pods.remove(pod)
            self.pod_seconds += self.now - pod.asked

    def _ready(self, pod: Pod) -> None:
        if not pod.leaving:
            pod.ready = True
            self.ready_at.append(self.now)
            self._dispatch()

    def _come(self, position: int) -> None:
        self.pending.append(position)
        self._dispatch()
        sooner = self._scaler.woken(self.now)
        if sooner is not None:
            self._acts += 1
            self._at(sooner, _Event.ACT, self._acts)

    def _act(self, number: int) -> None:
        if number == self._acts:
            self._acts += 1
            self._at(self._scaler.act(self), _Event.ACT, self._acts)

    def _sample(self, _: None) -> None:
        self.samples.append((self.now, self._oldest_waiting()))
        self._at(self.now + _SAMPLE_SECONDS, _Event.SAMPLE, None)

    def _oldest_waiting(self) -> float:
        """Age of the oldest that waits, handed back or never delivered; 0 where none does."""
        fronts = [queue[0] for queue in (self.returned, self.pending) if queue]
        return max((self.now - self.jobs[front].came for front in fronts), default=0.0)

    def _dispatch(self) -> None:
        while (self.pending or self.returned) and not self.blocked:
            free = [pod for pod in self.pods if pod.ready and not pod.leaving]
            pod = min(free, key=lambda each: len(each.jobs), default=None)
            if pod is None or len(pod.jobs) >= self._concurrency:
                return
            self._start((self.returned or self.pending).popleft(), pod)

    def _start(self, position: int, pod: Pod) -> None:
        job = self.jobs[position]
        job.begun, job.pod = self.now, pod
        job.attempt += 1
        pod.jobs.add(position)
        self.running += 1
        self.deliveries += 1
        if not self._stuck:
            self._at(self.now + job.service, _Event.END, (position, job.attempt))

    def _end(self, what: tuple[int, int]) -> None:
        position, attempt = what
        job = self.jobs[position]
        if job.attempt != attempt or job.pod is None or self._stuck:
            return
        self._release(position)
        self.ended += 1
        self.busy_seconds += job.service
        self.last_end = self.now
        self._dispatch()

    def _release(self, position: int) -> None:
        pod = self.jobs[position].pod
        assert pod is not None
        self.jobs[position].pod = None
        pod.jobs.discard(position)
        self.running -= 1
        self._leave(pod)

    def _outage(self, what: str) -> None:
        self._stuck = what != "over"
        self.blocked = what == "open"
        if what == "open":
            running = sorted(position for pod in self.pods for position in pod.jobs)
            for position in running:
                self._release(position)
                self.jobs[position].begun = None
            self.returned.extend(running)
        self._dispatch()
