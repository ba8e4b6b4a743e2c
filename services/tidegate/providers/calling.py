"""Calls that fail well: the next target at once, another round after a while, and an end to it.

Who may be called is up to the breakers, in which order up to `rounds`; here both meet the calls.
Rounds are apart by full jitter, and by what providers and breakers ask for, as long as whoever
waits for the answer has patience.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from tidegate.contracts.errors import Reason
from tidegate.providers.breakers import Breakers, CircuitOpenError, Permit
from tidegate.providers.errors import CALLERS_KINDS, ProviderError
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.rounds import Rounds
from tidegate.providers.routes import Target

T = TypeVar("T")

Call = Callable[[Target, Permit], Awaitable[T]]
OnWait = Callable[[Reason, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """`max_wait`: seconds that a run may wait between rounds, all of them together.

    None: for as long as its deadline allows.
    """

    max_wait: float | None


INTERACTIVE: Final = Patience(10.0)
BATCH: Final = Patience(None)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter between rounds: up to `first` seconds, doubled each time up to `longest`."""

    first: float = 0.5
    longest: float = 20.0


DEFAULT_RETRIES: Final = RetryPolicy()


class Caller:
    """Makes calls. `clock` gives seconds of the epoch."""

    def __init__(
        self,
        breakers: Breakers,
        metrics: ProviderMetrics,
        *,
        clock: Callable[[], float] = time.time,
        policy: RetryPolicy = DEFAULT_RETRIES,
    ) -> None:
        self._breakers = breakers
        self._metrics = metrics
        self._clock = clock
        self._policy = policy

    async def run(
        self,
        targets: Sequence[Target],
        call: Call[T],
        *,
        deadline: float | None,
        patience: Patience,
        attempts_left: int,
        on_wait: OnWait | None = None,
    ) -> T:
        """The answer of the first call that succeeds, out of at most `attempts_left`.

        `call` is given a target and the breaker's permit, to say `answering` when the first token
        is there; it fails by a ProviderError, and any other exception of it passes through.
        `on_wait` hears before each wait for what, and until when (epoch, seconds). `deadline`, on
        the event loop's clock, bounds waits and the beginning of calls; a call that runs is its
        maker's to end.

        Raises:
            ProviderError: no call succeeded; `retry_after` is when one might, where that is known.
        """
        if not targets:
            raise ValueError("no targets")
        run = _Run(
            Rounds(targets, attempts_left),
            breakers=self._breakers,
            metrics=self._metrics,
            clock=self._clock,
            deadline=deadline,
        )
        waits = _Waits(run, policy=self._policy, patience=patience, on_wait=on_wait)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_RoundOverError),
            wait=waits.seconds,
            stop=waits.in_vain,
            before_sleep=waits.announce,
            sleep=waits.sleep,
            reraise=True,
        )
        try:
            answer: T = await retrying(run.round, call)
        except _RoundOverError:
            raise run.rounds.verdict(self._clock()) from None
        return answer


class _RoundOverError(Exception):
    """No call of a round succeeded, and another round may help."""


class _Run:
    """One run's calls."""

    def __init__(
        self,
        rounds: Rounds,
        *,
        breakers: Breakers,
        metrics: ProviderMetrics,
        clock: Callable[[], float],
        deadline: float | None,
    ) -> None:
        self.rounds = rounds
        self.breakers = breakers
        self.metrics = metrics
        self.clock = clock
        self.deadline = deadline
        self.loop_time = asyncio.get_running_loop().time

    async def round(self, call: Call[T]) -> T:
        """Calls one target after the other until one answers."""
        self.rounds.begin()
        while (target := self._next()) is not None:
            try:
                permit = await self.breakers.permit(target)
            except CircuitOpenError as refusal:
                self.rounds.refused(target, refusal.until_s)
                continue
            try:
                return await self._call(target, permit, call)
            except ProviderError as error:
                if error.kind in CALLERS_KINDS:
                    raise
                self.rounds.failed(target, error, self.clock())
        raise _RoundOverError

    def _next(self) -> Target | None:
        if self.deadline is not None and self.loop_time() >= self.deadline:
            return None
        return self.rounds.next(self.clock())

    async def _call(self, target: Target, permit: Permit, call: Call[T]) -> T:
        outcome = "cancelled"
        try:
            answer = await call(target, permit)
        except ProviderError as error:
            outcome = error.reason
            permit.failed(error)
            raise
        else:
            outcome = "ok"
            permit.succeeded()
            return answer
        finally:
            # Without effect where one of the others was said.
            permit.release()
            self.metrics.calls.labels(*target.key, outcome).inc()


class _Waits:
    """How long one run waits after a round, and whether it is worth while."""

    def __init__(
        self, run: _Run, *, policy: RetryPolicy, patience: Patience, on_wait: OnWait | None
    ) -> None:
        self._run = run
        self._policy = policy
        self._jitter = wait_random_exponential(multiplier=policy.first, max=policy.longest)
        self._max_wait = patience.max_wait
        self._on_wait = on_wait
        self._waited = 0.0

    def seconds(self, state: RetryCallState) -> float:
        """Full jitter, and no less than what the first target that remains asks for."""
        now = self._run.clock()
        ready_at = self._run.rounds.ready_at(now)
        asked = 0.0 if ready_at is None else ready_at - now
        # What everybody waits for ends for all at once: the jitter comes on top.
        return asked + self._jitter(state)

    def in_vain(self, state: RetryCallState) -> bool:
        """Whether nothing remains to be called, or the wait is too long."""
        if self._run.rounds.ready_at(self._run.clock()) is None:
            return True
        seconds = state.upcoming_sleep
        deadline = self._run.deadline
        if deadline is not None and self._run.loop_time() + seconds >= deadline:
            return True
        return self._max_wait is not None and self._waited + seconds > self._max_wait

    async def announce(self, state: RetryCallState) -> None:
        """Tells what is waited for."""
        rounds = self._run.rounds
        reason = Reason.CIRCUIT_OPEN
        if rounds.error is not None and not rounds.only_breakers:
            reason = rounds.error.reason
        self._run.metrics.waits.labels(reason).inc()
        if self._on_wait is not None:
            await self._on_wait(reason, self._run.clock() + state.upcoming_sleep)

    async def sleep(self, seconds: float) -> None:
        """Waits, less if a breaker that is all that stands in the way heals meanwhile."""
        began = self._run.loop_time()
        rounds = self._run.rounds
        if rounds.only_breakers:
            await self._run.breakers.until_callable(rounds.remaining, seconds)
            left = began + seconds - self._run.loop_time()
            # Who waited for the same breaker must not come all at once.
            seconds = min(max(left, 0.0), random.uniform(0.0, self._policy.first))
        await asyncio.sleep(seconds)
        self._waited += self._run.loop_time() - began
