"""The account of calls: running totals, and a bounded ring of single calls for tests to look at.

Nothing here ever holds a prompt or an answer.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from tidegate.simulator.faults import Endpoint


class Outcome(StrEnum):
    """How a call stands or ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    #: The client closed the connection first.
    ABORTED = "aborted"
    #: Refused or broken off by the simulator; `kind` says how.
    FAILED = "failed"


class CallRecord(msgspec.Struct, kw_only=True):
    """One call. Times are Unix seconds; `kind` is a status such as "429", or a way of breaking off.

    `tokens_sent` counts what was written; in an answer that is not streamed, what was generated.
    """

    id: str
    endpoint: Endpoint
    model: str | None = None
    stream: bool = False
    request_id: str | None = None
    job: str | None = None
    retry_count: int = 0
    started: float
    ended: float | None = None
    outcome: Outcome = Outcome.RUNNING
    kind: str | None = None
    stalled: bool = False
    tokens_planned: int = 0
    tokens_sent: int = 0


class Lateness:
    """How late tokens were, as counts per quarter of a millisecond, up to 250 ms."""

    STEP: Final = 0.00025
    _SLOTS: Final = 1000

    def __init__(self) -> None:
        self._counts = [0] * (self._SLOTS + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one token."""
        slot = int(seconds / self.STEP)
        self._counts[slot if slot < self._SLOTS else self._SLOTS] += 1
        self.total += seconds

    def cumulative(self, bounds: list[float]) -> list[int]:
        """How many tokens were less late than each bound, in seconds; last, how many in all."""
        ends = [round(bound / self.STEP) for bound in bounds]
        return [sum(self._counts[:end]) for end in ends] + [sum(self._counts)]

    def percentile(self, share: float) -> float:
        """Seconds within which `share` of the tokens came, rounded up to a step; 0.0 if none."""
        wanted, seen = share * sum(self._counts), 0
        for slot, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return (slot + 1) * self.STEP
        return 0.0


class CallLog:
    """Totals since the start or the last `reset`, and the last `ring_size` calls.

    `clock` gives Unix seconds.
    """

    def __init__(self, ring_size: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ring: deque[CallRecord] = deque(maxlen=ring_size)
        self._idle = asyncio.Event()
        self._idle.set()
        self.running = 0
        self._zero()

    def _zero(self) -> None:
        self.started: Counter[Endpoint] = Counter()
        self.outcomes: Counter[tuple[Endpoint, Outcome]] = Counter()
        self.failures: Counter[str] = Counter()
        self.stalls = 0
        self.tokens_sent = 0
        self.most_running = self.running
        self.lateness = Lateness()

    def begin(self, record: CallRecord) -> None:
        """Count a call that has begun."""
        self._ring.append(record)
        self.started[record.endpoint] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self._idle.clear()

    def end(self, record: CallRecord, outcome: Outcome, kind: str | None = None) -> None:
        """Count the end of a call; only the first end counts."""
        if record.outcome is not Outcome.RUNNING:
            return
        record.outcome, record.kind, record.ended = outcome, kind, self._clock()
        self.outcomes[record.endpoint, outcome] += 1
        if kind is not None:
            self.failures[kind] += 1
        self.running -= 1
        if self.running == 0:
            self._idle.set()

    def sent(self, record: CallRecord, late: float) -> None:
        """Count a token, `late` seconds after its time."""
        record.tokens_sent += 1
        self.tokens_sent += 1
        self.lateness.observe(late)

    def stalled(self, record: CallRecord) -> None:
        """Count a silence in mid-stream."""
        record.stalled = True
        self.stalls += 1

    def reset(self) -> None:
        """Begin to count anew; calls that run stay counted as running."""
        self._ring.clear()
        self._zero()

    async def wait_idle(self) -> None:
        """Return when no call runs."""
        await self._idle.wait()

    def calls(self, *, request_id: str | None = None, job: str | None = None) -> list[CallRecord]:
        """The calls in the ring, oldest first, those of one request id or job where given."""
        return [
            record
            for record in self._ring
            if request_id in (None, record.request_id) and job in (None, record.job)
        ]
