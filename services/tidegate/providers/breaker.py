"""One circuit breaker as one process sees it: pure, no I/O, times given in seconds of the epoch.

    closed ──(failures here)──> open ──(its time is over, one claim)──> half-open
      ^                          ^  |                                      |
      |                          |  └──────(the probe was given back)──────┤
      |                          └────────────(the probe failed)───────────┤
      └──────────────(the probe was answered, or found at fault itself)────┘

What the fleet shares is a `Circuit`, written by compare-and-set on the sequence of the one before.
Failures are counted by each process for itself: what one sees is enough to open it for all. Whoever
stores the claim has the only probe of the fleet, for as long as it extends its lease.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from tidegate.contracts.errors import Reason

CIRCUIT_VERSION: Final = 1
# 2 to the power of this is longer than any cap.
_LARGEST_EXPONENT: Final = 32


class Phase(StrEnum):
    """What a breaker lets through: all, nothing, one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When it opens and for how long; times in seconds.

    It opens after `consecutive` failures without a success between them, or when `share` of at
    least `calls` calls of the last `window` failed; for `open`, doubled each time in a row up to
    `longest_open`, or as long as the provider asked, up to `longest_asked`. Opening within
    `forget` of the last healing counts as in a row. A probe's claim holds for `lease`, and is
    extended while the probe goes on.
    """

    consecutive: int = 5
    share: float = 0.5
    calls: int = 20
    window: float = 30.0
    open: float = 5.0
    longest_open: float = 60.0
    longest_asked: float = 300.0
    forget: float = 120.0
    lease: float = 5.0


DEFAULT_POLICY: Final = BreakerPolicy()


class Circuit(msgspec.Struct, frozen=True):
    """What the fleet shares, as it is stored.

    `until_ms`: open, when a probe may be made; half-open, when the probe's lease ends. `trips` are
    openings in a row, `opened_by` is the reason of the failure that was too many, `writer` the
    process that changed it last.
    """

    provider: str
    model: str
    phase: Phase = Phase.CLOSED
    changed_ms: int = 0
    until_ms: int = 0
    trips: int = 0
    opened_by: str = Reason.PROVIDER_UNAVAILABLE
    writer: str = ""
    v: int = CIRCUIT_VERSION

    @property
    def reason(self) -> Reason:
        """`opened_by`, where this release knows it."""
        return Reason.__members__.get(self.opened_by, Reason.PROVIDER_UNAVAILABLE)

    @property
    def until(self) -> float:
        """`until_ms` in seconds."""
        return self.until_ms / 1000


@dataclass(frozen=True, slots=True)
class Refused:
    """No call now; `until` is when to ask again."""

    until: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call may be made; `epoch` goes with its outcome."""

    epoch: int


class MustClaim:
    """A call may be made by whoever stores the claim."""


class _Window:
    """Outcomes of the last seconds, counted per second."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._consecutive = 0
        self._seconds: deque[list[int]] = deque()

    def clear(self) -> None:
        self._consecutive = 0
        self._seconds.clear()

    def succeed(self, now: float) -> None:
        self._consecutive = 0
        self._count(now, failed=0)

    def fail(self, now: float) -> bool:
        """Whether that is enough to open."""
        self._consecutive += 1
        self._count(now, failed=1)
        calls = sum(second[1] for second in self._seconds)
        failed = sum(second[2] for second in self._seconds)
        policy = self._policy
        many = calls >= policy.calls and failed >= policy.share * calls
        return many or self._consecutive >= policy.consecutive

    def _count(self, now: float, *, failed: int) -> None:
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        self._seconds[-1][1] += 1
        self._seconds[-1][2] += failed
        while self._seconds[0][0] <= second - self._policy.window:
            self._seconds.popleft()


class Breaker:
    """The state machine. `writer` names the process, and no other ever.

    `circuit` is the state by which this process goes; `base` the sequence in the store that it
    stands on (0: nothing is stored); `unsent` whether it has yet to be stored; `claiming` whether
    a claim is on its way to the store. Each change of phase begins a new `epoch`: outcomes of
    calls admitted in an older one say nothing any more.
    """

    def __init__(self, provider: str, model: str, *, writer: str, policy: BreakerPolicy) -> None:
        self.circuit = Circuit(provider, model)
        self.base = 0
        self.epoch = 0
        self.unsent = False
        self.claiming = False
        self._writer = writer
        self._policy = policy
        self._window = _Window(policy)

    def admit(self, now: float) -> Admitted | Refused | MustClaim:
        """What may be done now."""
        until = self.open_until(now)
        if until is not None:
            return Refused(until, self.circuit.reason)
        if self.circuit.phase is Phase.CLOSED:
            return Admitted(self.epoch)
        return MustClaim()

    def open_until(self, now: float) -> float | None:
        """When to ask again; None where a call may be made or claimed now."""
        if self.circuit.phase is Phase.CLOSED or self.may_claim(now):
            return None
        return now + self._policy.lease if self.claiming else self.circuit.until

    def may_claim(self, now: float) -> bool:
        """Whether a probe is due and nobody here is about to make it."""
        return self.due(now) and not self.claiming

    def due(self, now: float) -> bool:
        """Whether a probe is due, and none is made as far as is known."""
        return self.circuit.phase is not Phase.CLOSED and now >= self.circuit.until

    def claim(self, now: float) -> Circuit:
        """What to store for the right to probe."""
        return self._changed(now, Phase.HALF_OPEN, until=now + self._policy.lease)

    def claimed(self, claim: Circuit, sequence: int | None, now: float) -> Admitted | None:
        """The claim is stored; None if that was learnt too late to be of use.

        `sequence` None: the store cannot be asked, and we go alone.
        """
        if now >= claim.until or (sequence is not None and sequence < self.base):
            return None
        self._become(claim)
        if sequence is not None:
            self.stored(claim, sequence)
        return Admitted(self.epoch)

    def extend(self, epoch: int, now: float) -> None:
        """The probe goes on."""
        if self._is_probe(epoch):
            until_ms = _ms(now + self._policy.lease)
            self.circuit = msgspec.structs.replace(self.circuit, until_ms=until_ms)
            self.unsent = True

    def answered(self, epoch: int, now: float) -> int:
        """The provider has begun to answer, which heals; returns the call's epoch from now on."""
        if self._is_probe(epoch):
            self._become(self._changed(now, Phase.CLOSED))
            return self.epoch
        return epoch

    def succeeded(self, epoch: int, now: float) -> None:
        """A call came to its end."""
        epoch = self.answered(epoch, now)
        if epoch == self.epoch and self.circuit.phase is Phase.CLOSED:
            self._window.succeed(now)

    def failed(
        self,
        epoch: int,
        now: float,
        *,
        reason: Reason,
        retry_after: float | None = None,
        jitter: float = 0.0,
    ) -> None:
        """A call failed by the provider's fault. `jitter`, 0 to 1, spreads the next probe."""
        if epoch != self.epoch:
            return
        if self._is_probe(epoch) or (self.circuit.phase is Phase.CLOSED and self._window.fail(now)):
            self._become(self._tripped(now, reason, retry_after, jitter))

    def released(self, epoch: int, now: float) -> None:
        """A call ended and told nothing of the provider."""
        if self._is_probe(epoch):
            self._become(self._changed(now, Phase.OPEN, until=now))

    def heard(self, circuit: Circuit, sequence: int, now: float) -> None:
        """The store holds, or held, this: adopted if it is newer than what we stand on."""
        if sequence <= self.base or (self.claiming and circuit.writer == self._writer):
            return
        self.found(circuit, sequence, now)

    def found(self, circuit: Circuit | None, sequence: int, now: float) -> None:
        """The store refused our write, for it holds this (None: nothing, or nothing readable)."""
        if circuit is not None and sequence < self.base:
            return
        self.base = sequence
        if circuit is None:
            self.unsent = self.circuit.phase is not Phase.CLOSED
        elif circuit.writer == self._writer:
            # A write of our own whose acknowledgement was lost; we have gone on from it.
            self.unsent = circuit != self.circuit
        elif not self._outweighs(circuit):
            self.unsent = False
            self._adopt(circuit, now)

    def stored(self, circuit: Circuit, sequence: int) -> None:
        """What we wrote is in the store, unless something newer is there by now."""
        if sequence >= self.base:
            self.base = sequence
            self.unsent = circuit != self.circuit

    def _is_probe(self, epoch: int) -> bool:
        """Whether a call of this epoch is the probe: others' begin an epoch without any call."""
        return (
            epoch == self.epoch
            and self.circuit.phase is Phase.HALF_OPEN
            and self.circuit.writer == self._writer
        )

    def _outweighs(self, circuit: Circuit) -> bool:
        """Whether the failures that we saw are newer than another's finding that all is well."""
        return (
            self.unsent
            and self.circuit.phase is Phase.OPEN
            and circuit.phase is Phase.CLOSED
            and self.circuit.changed_ms > circuit.changed_ms
        )

    def _tripped(
        self, now: float, reason: Reason, retry_after: float | None, jitter: float
    ) -> Circuit:
        policy, before = self._policy, self.circuit
        in_a_row = (
            before.phase is not Phase.CLOSED or now < before.changed_ms / 1000 + policy.forget
        )
        trips = before.trips + 1 if in_a_row else 1
        doubled = policy.open * 2.0 ** min(trips - 1, _LARGEST_EXPONENT)
        seconds = min(doubled, policy.longest_open) * (1 + jitter / 5)
        asked = min(retry_after or 0.0, policy.longest_asked)
        circuit = self._changed(now, Phase.OPEN, until=now + max(seconds, asked))
        return msgspec.structs.replace(circuit, trips=trips, opened_by=reason)

    def _changed(self, now: float, phase: Phase, *, until: float = 0.0) -> Circuit:
        return msgspec.structs.replace(
            self.circuit,
            phase=phase,
            changed_ms=_ms(now),
            until_ms=_ms(until),
            writer=self._writer,
        )

    def _become(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.unsent = True
        self._begin_epoch()

    def _adopt(self, circuit: Circuit, now: float) -> None:
        # A writer whose clock is far ahead must not keep it shut for as long.
        latest = _ms(now + self._policy.longest_asked)
        before = self.circuit
        self.circuit = msgspec.structs.replace(circuit, until_ms=min(circuit.until_ms, latest))
        if (before.phase, before.writer) != (circuit.phase, circuit.writer):
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epoch += 1
        self._window.clear()


def _ms(seconds: float) -> int:
    """Rounded down: what may be done now must not have to wait for the next millisecond."""
    return math.floor(seconds * 1000)
