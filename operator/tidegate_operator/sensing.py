"""From a look at a pool's queue to a decision, and what is remembered from one to the next."""

from typing import Final

from tidegate_operator.conditions import Fault
from tidegate_operator.parts import KeeperParts
from tidegate_operator.pool import Pool
from tidegate_operator.queues import BlindError, Queue, QueueLook
from tidegate_operator.scaling import PoolPolicy, Recent, Signals, decide
from tidegate_operator.signals import Arrivals, Means, signals_of
from tidegate_operator.turn import Turn

# From the first job at zero to the look that decides: the burst that it began is seen whole.
SETTLE_SECONDS: Final = 0.5


class Sensing:
    """One pool's queue; a leader begins with what the one before wrote into the pool's status."""

    def __init__(self, pool: Pool, parts: KeeperParts) -> None:
        self.queue = pool.spec.queue
        self._parts = parts
        self._queue = Queue(parts.jetstream, self.queue, parts.operator)
        self._interactive = self._batch = Arrivals()
        self._recent: Recent | None = None
        self._decided: int | None = None
        # When the first of the jobs came that wait, by the clock of the parts.
        self._came_at: float | None = None
        status = pool.status
        self._means = Means(status.service_seconds, status.tokens_per_job, status.usd_per_job)

    async def sense(self, turn: Turn, pool: Pool) -> None:
        """Puts into the turn what the queue says and how many replicas there should be."""
        current = turn.replicas
        try:
            look = turn.look = await self._queue.look()
        except BlindError as error:
            turn.blind = True
            turn.target = held(pool, current)
            stay = f"{turn.target} replica{'' if turn.target == 1 else 's'}"
            turn.fault = Fault(error.reason, f"{error.message}: {stay} until it can be seen.")
            return
        now = self._parts.clock()
        signals = turn.signals = self._signals(pool, look, self._before(turn), now)
        recent = self._recent or Recent(now)
        if not signals.waiting:
            self._came_at = None
        decision = turn.decision = decide(policy_of(pool), signals, recent, now)
        turn.target = decision.replicas
        turn.means = self._means
        if not current and decision.replicas and pool.spec.replicas is None:
            turn.settles_in = self._settles_in(signals, now)
        if not turn.settles_in:
            self._recent, self._decided = decision.recent, decision.replicas

    def _before(self, turn: Turn) -> int:
        """Replicas that the last decision asked for: what others have made of that does not count.

        Where decisions are not written, or not obeyed, it is what there is.
        """
        obeyed = turn.fault is None and not (turn.seen.paused or turn.seen.dry_run)
        if obeyed and self._decided is not None and turn.current is not None:
            return self._decided
        return turn.replicas or 0

    def _settles_in(self, signals: Signals, now: float) -> float:
        """Seconds until the burst that has just come to a pool at zero is whole; 0 where none has.

        Whichever look is the first to see it, its first job alone is no ground to decide on. The
        job's age is by the servers' clocks, which need not agree.
        """
        if not signals.waiting:
            return 0.0
        if self._came_at is None:
            self._came_at = now - signals.oldest_seconds
        return max(self._came_at + SETTLE_SECONDS - now, 0.0)

    def _signals(self, pool: Pool, look: QueueLook, current: int, now: float) -> Signals:
        self._interactive = self._interactive.seen(look.interactive, now)
        self._batch = self._batch.seen(look.batch, now)
        told = self._parts.workers.told(self.queue)
        self._means = self._means.updated(told)
        return signals_of(
            look.interactive,
            look.batch,
            told,
            ages=look.ages,
            arrival_per_second=self._interactive.per_second + self._batch.per_second,
            means=self._means,
            guess_seconds=pool.spec.scaling.service_seconds,
            current=current,
        )


def held(pool: Pool, current: int | None) -> int:
    """Replicas while nothing can be decided: the pin, or those that there are, or the fewest."""
    if pool.spec.replicas is not None:
        return pool.spec.replicas
    return pool.spec.min_replicas if current is None else current


def policy_of(pool: Pool) -> PoolPolicy:
    """What a pool's owner chose, as the decision takes it."""
    spec = pool.spec
    return PoolPolicy(
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        concurrency=spec.concurrency,
        objective_seconds=spec.objective_seconds,
        utilization=spec.scaling.utilization,
        cold_start_seconds=spec.scaling.cold_start_seconds,
        scale_in_seconds=spec.scaling.scale_in_seconds,
        tokens_per_second=spec.limits.tokens_per_second,
        usd_per_hour=spec.limits.usd_per_hour,
        pin=spec.replicas,
    )
