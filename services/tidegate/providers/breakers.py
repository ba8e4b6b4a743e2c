"""The fleet's circuit breakers: one for each (provider, upstream model), the same everywhere.

A process goes by its own copy, which costs a call nothing; it hears of others' changes from the
server, and reads them every few seconds in case it did not. Its own changes hold for itself at
once and are stored as soon as NATS takes them. Only a probe asks first: its claim has to be stored.
While NATS is away each process goes on alone, and probes for itself.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.logs import describe_error
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Reason
from tidegate.contracts.subjects import BREAKERS_LIVE_ALL, STREAM_SEQUENCE, breaker_live_subject
from tidegate.providers.breaker import (
    DEFAULT_POLICY,
    Admitted,
    Breaker,
    BreakerPolicy,
    Circuit,
    Phase,
    Refused,
)
from tidegate.providers.breaker_store import BreakerStore, StoreAwayError, decode_circuit
from tidegate.providers.errors import CALLERS_KINDS, ProviderError
from tidegate.providers.metrics import PHASES, ProviderMetrics
from tidegate.providers.routes import Target

_log = structlog.stdlib.get_logger(module=__name__)

_VERIFY_SECONDS: Final = 5.0
_PUSH_AGAIN_SECONDS: Final = (0.2, 1.0)
_CLAIMS: Final = 3
_LOST_CLAIM_SECONDS: Final = 1.0
# A probe whose owner forgot about it must not keep its lease for ever.
_LONGEST_PROBE_SECONDS: Final = 3600.0
_STOP_SECONDS: Final = 1.0


class CircuitOpenError(Exception):
    """No call now: ask again at `until_s` (seconds of the epoch). `reason` is why it opened."""

    def __init__(self, until_s: float, reason: Reason) -> None:
        super().__init__("the circuit breaker is open")
        self.until_s = until_s
        self.reason = reason


class _Message(Protocol):
    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str] | None: ...


class Permit:
    """Leave to make one call. `succeeded`, `failed` or `release` ends it; the first counts."""

    def __init__(self, owner: "Breakers", entry: "_Entry", epoch: int) -> None:
        self._owner = owner
        self._entry = entry
        self._epoch = epoch
        self._lease: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def probing(self) -> bool:
        """Whether the call is the probe of an open breaker, and not answered or ended yet."""
        return self._lease is not None

    def answering(self) -> None:
        """The first token is there: a probe has done its work, however long it may talk."""
        if self._ended or self._lease is None:
            return
        self._end_lease()
        self._epoch = self._entry.breaker.answered(self._epoch, self._owner.clock())
        self._owner.follow(self._entry)

    def succeeded(self) -> None:
        """The call came to its end."""
        if self._end():
            self._entry.breaker.succeeded(self._epoch, self._owner.clock())
            self._owner.follow(self._entry)

    def failed(self, error: ProviderError) -> None:
        """The call failed. A request that was refused for its own faults was answered well."""
        if not self._end():
            return
        breaker, now = self._entry.breaker, self._owner.clock()
        if error.kind in CALLERS_KINDS:
            breaker.answered(self._epoch, now)
        else:
            breaker.failed(
                self._epoch,
                now,
                reason=error.reason,
                retry_after=error.retry_after,
                jitter=random.random(),
            )
        self._owner.follow(self._entry)

    def release(self) -> None:
        """The call was given up by us: it says nothing of the provider."""
        if self._end():
            self._entry.breaker.released(self._epoch, self._owner.clock())
            self._owner.follow(self._entry)

    def hold(self, lease: asyncio.Task[None]) -> None:
        """This call is the probe, and `lease` keeps its claim alive."""
        self._lease = lease

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._end_lease()
        return True

    def _end_lease(self) -> None:
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None


class _Entry:
    """A breaker and what is going on around it."""

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.lock = asyncio.Lock()
        self.pushing: asyncio.Task[None] | None = None
        self.shown = 0


class Breakers:
    """A component; begin it after the connection. `owner` names the process in what is stored."""

    name = "breakers"

    def __init__(
        self,
        nats: NatsConnection,
        jetstream: JetStream,
        guard: TaskGuard,
        metrics: ProviderMetrics,
        *,
        owner: str,
        clock: Callable[[], float] = time.time,
        policy: BreakerPolicy = DEFAULT_POLICY,
    ) -> None:
        self.clock = clock
        self._nats = nats
        self._store = BreakerStore(jetstream)
        self._guard = guard
        self._metrics = metrics
        self._policy = policy
        # No two processes may take each other's writes for their own, whatever they are called.
        self._writer = f"{owner}-{secrets.token_hex(6)}"
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._hooks: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._verified = 0
        self._tasks: list[asyncio.Task[object]] = []

    async def start(self) -> None:
        """Listens, and reads what there is; a store that is not there yet is read later."""
        await self._nats.client.subscribe(BREAKERS_LIVE_ALL, cb=self._on_message)
        self._nats.on_reconnect(self._verify)
        await self._verify()
        self._tasks.append(self._guard.spawn_eternal("breakers-verify", self._verify_always()))

    async def stop(self, deadline: Deadline) -> None:
        """Stores what is not stored yet, if NATS takes it."""
        for task in self._tasks:
            task.cancel()
        pushing = {entry.pushing for entry in self._entries.values() if entry.pushing is not None}
        if pushing:
            await asyncio.wait(pushing, timeout=min(deadline.remaining() / 2, _STOP_SECONDS))
        for push in pushing:
            push.cancel()

    async def permit(self, target: Target) -> Permit:
        """Leave for one call; to be ended in any case.

        Raises:
            CircuitOpenError: no call may be made now.
        """
        entry = self._entry(*target.key)
        for _ in range(_CLAIMS):
            admission: Admitted | Refused | None
            match entry.breaker.admit(self.clock()):
                case Admitted(epoch):
                    return Permit(self, entry, epoch)
                case Refused(until, reason):
                    raise self._refuse(entry, until, reason)
            admission = await self._claim(entry)
            if admission is not None:
                permit = Permit(self, entry, admission.epoch)
                work = self._keep_lease(entry, admission.epoch)
                permit.hold(self._guard.spawn("breaker-lease", work))
                return permit
        until = self.clock() + _LOST_CLAIM_SECONDS
        raise self._refuse(entry, until, entry.breaker.circuit.reason)

    def open_until(self, targets: Iterable[Target]) -> float | None:
        """When the first of them may be tried (epoch, seconds); None if one may be called now."""
        now = self.clock()
        earliest: float | None = None
        for target in targets:
            entry = self._entries.get(target.key)
            until = None if entry is None else entry.breaker.open_until(now)
            if until is None:
                return None
            earliest = until if earliest is None else min(earliest, until)
        return earliest

    def all_open(self, targets: Iterable[Target]) -> bool:
        """Whether none of them has proved itself since its breaker opened; False without any.

        One whose probe is due, or under way, has not.
        """
        entries = [self._entries.get(target.key) for target in targets]
        circuits = [entry.breaker.circuit for entry in entries if entry is not None]
        opened = sum(circuit.phase is not Phase.CLOSED for circuit in circuits)
        return bool(entries) and opened == len(entries)

    async def until_callable(self, targets: Iterable[Target], seconds: float) -> None:
        """Returns once one of them may be called, and after `seconds` in any case."""
        targets = tuple(targets)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (until := self.open_until(targets)) is not None and loop.time() < end:
            changed: asyncio.Future[None] = loop.create_future()
            self._waiters.add(changed)
            try:
                patience = min(end - loop.time(), max(until - self.clock(), 0.0))
                await asyncio.wait({changed}, timeout=patience)
            finally:
                self._waiters.discard(changed)

    def on_change(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Calls `hook` after each change of a breaker; returns what ends that."""
        self._hooks.append(hook)
        return lambda: self._hooks.remove(hook)

    def follow(self, entry: _Entry) -> None:
        """Shows what has changed, and begins to store what is not stored."""
        breaker = entry.breaker
        if entry.shown != breaker.epoch:
            entry.shown = breaker.epoch
            self._show(breaker.circuit)
        if breaker.unsent and entry.pushing is None:
            entry.pushing = self._guard.spawn("breaker-push", self._push(entry))

    def _entry(self, provider: str, model: str) -> _Entry:
        entry = self._entries.get((provider, model))
        if entry is None:
            breaker = Breaker(provider, model, writer=self._writer, policy=self._policy)
            entry = self._entries[provider, model] = _Entry(breaker)
            self._metrics.breaker_state.labels(provider, model).set(PHASES[Phase.CLOSED])
        return entry

    def _refuse(self, entry: _Entry, until: float, reason: Reason) -> CircuitOpenError:
        circuit = entry.breaker.circuit
        self._metrics.breaker_refused.labels(circuit.provider, circuit.model).inc()
        return CircuitOpenError(until, reason)

    def _show(self, circuit: Circuit) -> None:
        labels = (circuit.provider, circuit.model)
        self._metrics.breaker_state.labels(*labels).set(PHASES[circuit.phase])
        if circuit.writer == self._writer:
            self._metrics.breaker_transitions.labels(*labels, circuit.phase).inc()
            _log.info(
                "circuit breaker",
                provider=circuit.provider,
                model=circuit.model,
                state=circuit.phase,
                reason=circuit.reason,
                seconds=round(max(0.0, circuit.until - self.clock()), 1),
            )
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for hook in tuple(self._hooks):
            hook()

    async def _claim(self, entry: _Entry) -> Admitted | None:
        """The right to probe; None if another was quicker."""
        breaker = entry.breaker
        breaker.claiming = True
        try:
            async with entry.lock:
                claim, sequence = await self._put_claim(entry)
        finally:
            breaker.claiming = False
        admitted = None if claim is None else breaker.claimed(claim, sequence, self.clock())
        self.follow(entry)
        return admitted

    async def _put_claim(self, entry: _Entry) -> tuple[Circuit | None, int | None]:
        """Our claim and its sequence, None where we go alone; no claim: another was quicker."""
        breaker = entry.breaker
        try:
            if breaker.unsent:
                await self._put(entry)
            if not breaker.due(self.clock()):
                return None, None
            claim = breaker.claim(self.clock())
            kept = await self._store.put(claim, breaker.base)
        except StoreAwayError:
            if not breaker.due(self.clock()):
                return None, None
            self._metrics.breaker_alone.inc()
            return breaker.claim(self.clock()), None
        if kept.circuit == claim:
            return claim, kept.sequence
        breaker.found(kept.circuit, kept.sequence, self.clock())
        return None, None

    async def _keep_lease(self, entry: _Entry, epoch: int) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _LONGEST_PROBE_SECONDS
        while entry.breaker.epoch == epoch and loop.time() < end:
            await asyncio.sleep(self._policy.lease / 3)
            entry.breaker.extend(epoch, self.clock())
            self.follow(entry)

    async def _push(self, entry: _Entry) -> None:
        """Stores what is not stored, for as long as that takes."""
        try:
            while entry.breaker.unsent:
                try:
                    async with entry.lock:
                        if entry.breaker.unsent:
                            await self._put(entry)
                except StoreAwayError as error:
                    _log.debug("a breaker is not stored", error=describe_error(error))
                    await asyncio.sleep(random.uniform(*_PUSH_AGAIN_SECONDS))
        finally:
            entry.pushing = None
        self.follow(entry)

    async def _put(self, entry: _Entry) -> None:
        breaker, circuit = entry.breaker, entry.breaker.circuit
        kept = await self._store.put(circuit, breaker.base)
        if kept.circuit == circuit:
            breaker.stored(circuit, kept.sequence)
        else:
            breaker.found(kept.circuit, kept.sequence, self.clock())

    async def _on_message(self, message: _Message) -> None:
        circuit = decode_circuit(message.data) or self._deleted(message)
        if circuit is not None:
            self._hear(circuit, int((message.headers or {}).get(STREAM_SEQUENCE, "0")))

    def _deleted(self, message: _Message) -> Circuit | None:
        """The breaker whose key an operator deleted, to have it closed."""
        if not message.data:
            for key in self._entries:
                if breaker_live_subject(*key) == message.subject:
                    return Circuit(*key)
        return None

    def _hear(self, circuit: Circuit, sequence: int) -> None:
        entry = self._entry(circuit.provider, circuit.model)
        entry.breaker.heard(circuit, sequence, self.clock())
        self.follow(entry)

    async def _verify_always(self) -> None:
        while True:
            await asyncio.sleep(_VERIFY_SECONDS)
            await self._verify()

    async def _verify(self) -> None:
        """Reads what was stored since the last time: a message may have been lost."""
        try:
            kept = await self._store.after(self._verified)
        except StoreAwayError as error:
            _log.debug("breakers are not read", error=describe_error(error))
            return
        for each in kept:
            if each.circuit is not None:
                self._hear(each.circuit, each.sequence)
            self._verified = max(self._verified, each.sequence)
