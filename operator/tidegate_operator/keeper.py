"""One pool, kept: looked at, decided on, written, told of, again and again."""

import asyncio
import random
from contextlib import suppress
from typing import Final

import structlog

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, GoneError, Object
from tidegate_operator.applying import Applying
from tidegate_operator.conditions import Fault, Reason
from tidegate_operator.judging import fault_of, name_taken
from tidegate_operator.parts import KeeperParts
from tidegate_operator.paths import DEPLOYMENTS, POOLS
from tidegate_operator.pool import InvalidPool, Pool, PoolObject, parse_object, parse_pool
from tidegate_operator.registry import Key
from tidegate_operator.sensing import SETTLE_SECONDS, Sensing
from tidegate_operator.telling import Telling
from tidegate_operator.turn import Turn
from tidegate_operator.writes import NameTakenError, NotLeadingError, owner_of

_log = structlog.stdlib.get_logger(module=__name__)

_QUIET_SECONDS: Final = 5.0
# At zero gateways tell of the first job; a look is for one that was not heard.
_ASLEEP_SECONDS: Final = 10.0
_HELD_SECONDS: Final = 10.0
_TOO_MANY: Final = 429
# How a server-side apply is answered (500) whose fields Kubernetes does not know.
_NO_SUCH_FIELD: Final = "typed patch object"
# Failures in a row of the API server's own, after which the pool says so.
_PATIENCE: Final = 3
_AGAIN: Final = Backoff(0.5, 15.0)
# A queue that does not answer: all pools at once would be too much for a NATS that is late already.
_BLIND: Final = Backoff(1.0, 10.0)


class Keeper:
    """The pool of `key`. `next_at` is when it is looked at next, by the clock of its parts."""

    def __init__(self, key: Key, parts: KeeperParts) -> None:
        self._key = key
        self._parts = parts
        self._wake = asyncio.Event()
        self._asleep = False
        self._looked_at = float("-inf")
        self._failures = 0
        self._blind = 0
        self._why = ""
        # What was changed, and is not in the status yet.
        self._untold: tuple[int, int] | None = None
        self._sensing: Sensing | None = None
        self._applying = Applying(key, parts)
        self._telling = Telling(key, parts)
        self._busy_since = float("inf")
        self.next_at = parts.clock()

    @property
    def due_since(self) -> float:
        """When the look began, or should have begun, that has not ended; else when the next is."""
        return min(self.next_at, self._busy_since)

    async def run(self) -> None:
        """Keeps it until it is cancelled, whatever goes wrong."""
        while True:
            await self._until_due()
            async with self._parts.places:
                began = self._parts.clock()
                self._parts.metrics.lag_seconds.observe(max(began - self.next_at, 0.0))
                self.next_at, self._busy_since = float("inf"), began
                delay = await self._guarded_pass()
                now = self._parts.clock()
                self._parts.metrics.pass_seconds.observe(now - began)
            self._busy_since = float("inf")
            self.next_at = min(self.next_at, now + delay)

    def changed(self) -> None:
        """The pool or its Deployment is another."""
        self._be_due(self._parts.clock())

    def job_came(self) -> None:
        """A gateway has accepted a job for the queue."""
        now = self._parts.clock()
        next_look = self._looked_at + self._parts.look_seconds
        self._be_due(now + SETTLE_SECONDS if self._asleep else max(now, next_look))

    def close(self) -> None:
        """The pool is no more."""
        self._telling.close()

    def _be_due(self, at: float) -> None:
        if at < self.next_at:
            self.next_at = at
            self._wake.set()

    async def _until_due(self) -> None:
        while (left := self.next_at - self._parts.clock()) > 0:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    async def _guarded_pass(self) -> float:
        """Seconds until the next one."""
        ended, why = "done", ""
        try:
            delay = await self._pass()
            ended = "held" if self._blind else "done"
            self._failures = 0
        except NotLeadingError:
            return _HELD_SECONDS  # The process is about to end.
        except (ConflictError, GoneError):
            ended, delay = "outdated", await self._look_anew()
        except ApiServerError as error:
            ended, why = "refused", str(error)
            delay = self._after_failure()
        except Exception as error:
            # One object must not stop the operator from keeping the others.
            ended, why = "failed", type(error).__name__
            _log.exception("a pool could not be kept", pool=self._name, error=why)
            delay = self._after_failure()
        self._parts.metrics.passes.labels(ended).inc()
        if why and why != self._why and ended != "failed":
            _log.warning("a pool could not be kept", pool=self._name, why=why)
        self._why = why
        return delay

    @property
    def _name(self) -> str:
        return "/".join(self._key)

    def _after_failure(self) -> float:
        self._failures += 1
        return _AGAIN.seconds(self._failures)

    async def _look_anew(self) -> float:
        """What was decided on has changed: the watch may be behind, so it is read."""
        registry, api = self._parts.registry, self._parts.api
        readings = (
            (POOLS, registry.read_pool),
            (DEPLOYMENTS, registry.read_deployment),
        )
        try:
            for resource, read in readings:
                read(self._key, await api.get(resource.path(*self._key)))
        except ApiServerError:
            return self._after_failure()
        return _AGAIN.low

    async def _pass(self) -> float:
        body = self._parts.registry.pools.get(self._key)
        if body is None:
            return _HELD_SECONDS
        seen = parse_object(body)
        if seen.deleting:
            return _HELD_SECONDS
        turn = await self._turn(body, seen)
        if turn.settles_in:
            return turn.settles_in
        self._blind = self._blind + 1 if turn.blind else 0
        # One answer that is late is no news: a thousand pools would tell of each.
        if self._blind != 1 or turn.seen.generation != turn.seen.status.observed_generation:
            await self._telling.tell(turn)
            self._untold = None
        return self._delay(turn)

    async def _turn(self, body: Object, seen: PoolObject) -> Turn:
        turn = Turn(body=body, seen=seen, change=self._untold)
        current = self._parts.registry.deployments.get(self._key)
        if current is not None and owner_of(current) in {"", seen.uid}:
            turn.current = current
        try:
            pool = turn.pool = parse_pool(body)
            turn.fault = fault_of(pool, self._parts.registry, self._parts.operator)
            # Beside an autoscaler all but the replicas is the pool's.
            if turn.fault is None or turn.fault.reason is Reason.FOREIGN_AUTOSCALER:
                await self._keep(turn, pool)
        except InvalidPool as error:
            turn.fault = Fault(Reason.INVALID_SPEC, str(error))
        return turn

    async def _keep(self, turn: Turn, pool: Pool) -> None:
        sensing = self._sensing
        if sensing is None or sensing.queue != pool.spec.queue:
            sensing = self._sensing = Sensing(pool, self._parts)
        self._looked_at = self._parts.clock()
        scaled_by_another = turn.fault
        await sensing.sense(turn, pool)
        if scaled_by_another is not None:
            turn.fault = scaled_by_another
            turn.target = turn.target if turn.replicas is None else turn.replicas
        if pool.paused or pool.dry_run or turn.settles_in:
            return
        try:
            await self._applying.write(turn, pool)
        except NameTakenError as error:
            turn.fault = name_taken(pool.name, str(error))
        except (ConflictError, GoneError):
            raise
        except ApiServerError as error:
            if not (_is_refusal(error) or (error.status and self._failures >= _PATIENCE)):
                raise
            # It would be refused again: the pool says why, and what can be done.
            turn.fault = Fault(Reason.REFUSED, str(error))
        finally:
            self._untold = turn.change

    def _delay(self, turn: Turn) -> float:
        look = self._parts.look_seconds
        if turn.fault is not None:
            self._asleep = False
            return _BLIND.seconds(self._blind - 1) if turn.blind else _HELD_SECONDS
        nothing = turn.signals is not None and not (turn.signals.waiting or turn.signals.running)
        self._asleep = nothing and turn.target == 0
        if self._asleep:
            return _ASLEEP_SECONDS * _about_one()
        settled = nothing and turn.ready == turn.target
        return _QUIET_SECONDS * _about_one() if settled else look


def _is_refusal(error: ApiServerError) -> bool:
    """Whether the same would be refused again."""
    if error.status >= 500:
        return _NO_SUCH_FIELD in str(error)
    return error.status >= 400 and error.status != _TOO_MANY


def _about_one() -> float:
    """Pools that began together are not to be looked at together for ever."""
    return random.uniform(0.8, 1.2)
