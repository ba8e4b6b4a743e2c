"""How many replicas a pool should have: a pure decision, from numbers to a number and its reason.

What is wanted is the larger of two terms:

- for what arrives: ``arrival x service / (concurrency x utilization)``, Little's law over the
  slots that are planned for;
- for what waits: ``backlog x service / (concurrency x (objective - oldest - cold start))``, so that
  the youngest of the backlog is begun before the oldest has waited for longer than the objective.
  Where no time is left, as many as the backlog can use.

Bounds cut what is wanted; the way up is one step, at once; the way down waits.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

# Looks further apart than this, in seconds, leave a hole in what is remembered: it begins again.
_BLIND_SECONDS: Final = 15.0
# What floating point adds to a whole number of replicas is no replica.
_ROUNDING: Final = 1e-9
# Between two steps down there is so much of `scale_in_seconds`: a rate that fades is a staircase.
_PAUSE: Final = 0.25


@dataclass(frozen=True, slots=True)
class PoolPolicy:
    """What a pool's owner chose: a WorkerPool's `spec`, with its defaults.

    `utilization` is a share of slots, 0.1 to 1; `usd_per_hour` is spent with the provider. None: no
    such limit, and for `pin` that the operator decides.
    """

    min_replicas: int = 0
    max_replicas: int = 10
    concurrency: int = 64
    objective_seconds: float = 30.0
    utilization: float = 0.8
    cold_start_seconds: float = 10.0
    scale_in_seconds: float = 60.0
    tokens_per_second: float | None = None
    usd_per_hour: float | None = None
    pin: int | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a pool's queue at one moment.

    `interactive` and `batch` are jobs that wait; `running` are those that workers hold; `parked`
    are those that went back to the queue until their provider answers again. `oldest_seconds` is
    the age of the oldest that waits, 0 where none does. `arrival_per_second` is smoothed;
    `service_seconds` is the mean time for which a job is held. None: not known yet.

    `max_ack_pending` is how many jobs one consumer gives out before some are acknowledged (0 or
    less: without bound). `blocked`: no provider of the queue answers, as every worker that tells
    says. `current` is how many replicas the Deployment asks for now.
    """

    interactive: int
    batch: int
    running: int
    oldest_seconds: float
    arrival_per_second: float
    service_seconds: float
    tokens_per_job: float | None
    usd_per_job: float | None
    max_ack_pending: int
    blocked: bool
    current: int
    parked: int = 0
    # Those of `running` on workers that take no more: their slots are not the Deployment's.
    draining: int = 0

    @property
    def waiting(self) -> int:
        """Jobs of both classes that wait."""
        return self.interactive + self.batch


@dataclass(frozen=True, slots=True)
class Recent:
    """What was wanted lately, by the clock of `now`: a new leader begins with `Recent(now)`.

    `since` is from when on one has looked without a gap. `wants` are pairs of a time and a number
    of replicas, oldest first; one that a later one reached or exceeded is left out, as it can rule
    no more. The last is of the last look, and `current` is what that look found. `raised` and
    `lowered` are when that number last rose and fell; None: not since one looks.
    """

    since: float
    wants: tuple[tuple[float, int], ...] = ()
    current: int = 0
    raised: float | None = None
    lowered: float | None = None


class Limiter(StrEnum):
    """What a decision stopped at. The value is what `status.limiter` says."""

    # Nothing: as many as are wanted.
    NONE = "None"
    # `minReplicas`.
    MIN = "MinReplicas"
    # `maxReplicas`.
    MAX = "MaxReplicas"
    # What a consumer gives out before it is acknowledged.
    ACK_PENDING = "AckPending"
    # `limits.tokensPerSecond`.
    TOKEN_BUDGET = "TokenBudget"  # noqa: S105 - tokens of a model
    # `limits.usdPerHour`.
    COST_CAP = "CostCap"
    # More are wanted for no reason but what runs.
    RUNNING = "Running"
    # Fewer would do, but not for long enough yet.
    STABILIZING = "Stabilizing"
    # No provider answers, which more replicas cannot help.
    OUTAGE = "ProviderOutage"
    # `spec.replicas`.
    PIN = "Pinned"
    # More would find no job to run.
    USEFUL = "Useful"


# How the reason of a decision ends, by what it stopped at.
_VERDICTS: Final = {
    Limiter.NONE: "{told}",
    Limiter.MIN: "{told}, the minimum",
    Limiter.MAX: "{told}, the maximum, of {wanted} wanted",
    Limiter.ACK_PENDING: (
        "{told} of {wanted} wanted, for a consumer gives out "
        "{signals.max_ack_pending:,} unacknowledged jobs at most"
    ),
    Limiter.TOKEN_BUDGET: (
        "{told} of {wanted} wanted, within {policy.tokens_per_second:,g} tokens a second"
    ),
    Limiter.COST_CAP: "{told} of {wanted} wanted, within {policy.usd_per_hour:,g} USD an hour",
    Limiter.RUNNING: "{told}, a slot for each that runs",
    Limiter.STABILIZING: "{told} until fewer have been enough for {policy.scale_in_seconds:g} s",
    Limiter.OUTAGE: "{told} of {wanted} wanted, for no provider answers",
    Limiter.PIN: "{told}, pinned; {wanted} wanted",
    Limiter.USEFUL: "{told}, for more would find nothing to run",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """`replicas` rules. `wanted` is what it would be without bounds, and without waiting.

    `reason` is a sentence with the numbers that decided; `recent` is to be given to the next one.
    """

    replicas: int
    wanted: int
    limiter: Limiter
    reason: str
    recent: Recent


@dataclass(frozen=True, slots=True)
class _Cut:
    """A number of replicas, and what made it that."""

    replicas: int
    limiter: Limiter


def decide(policy: PoolPolicy, signals: Signals, recent: Recent, now: float) -> Decision:
    """How many replicas the pool should have. `now` is in seconds of a clock that never goes back.

    - What waits or runs wants a replica, and no running job is left without its slot. Arrivals
      alone, while nothing waits or runs, want whole replicas only: else a rate that fades would
      keep one for ever.
    - The backlog gets no more replicas than have jobs to run. An eighth of the slots, at least one,
      is closed to interactive jobs; those that run count as such while any waits.
    - It gets none besides those that are on their way where their slots begin it in time. They
      have less of their cold start before them than one asked for now: else each look at the same
      burst would ask for a few more.
    - Bounds rule over all of that, and over `min_replicas`: the maximum, what one consumer gives
      out, tokens, cost, and while no provider answers the present number, or 1. The budgets and the
      consumer's bound leave at least 1, or nothing would ever be known or done.
    - Fewer only once nothing more has been wanted for `scale_in_seconds`, after as long a time of
      looks without a gap, and a quarter of it after the step before. A bound that falls is heeded
      at once. Jobs that are parked keep one replica, which would else come and go for as long as
      the outage lasts.
    - A pin rules over everything.
    """
    recent = _look_back(recent, signals.current, now)
    want = _want(policy, signals, _warm_in(policy, recent, now))
    recent = _remember(recent, want.replicas, now, policy.scale_in_seconds)
    cut = _within_bounds(policy, signals, want)
    cut = _stabilized(policy, signals, cut, recent, now)
    if policy.pin is not None:
        cut = _Cut(policy.pin, Limiter.PIN)
    reason = f"{_facts(signals)}: {_verdict(policy, signals, want.replicas, cut)}"
    return Decision(cut.replicas, want.replicas, cut.limiter, reason, recent)


def _want(policy: PoolPolicy, signals: Signals, warm_in: float) -> _Cut:
    """Before all bounds: the larger of both terms, and at least what runs needs."""
    backlog = _for_backlog(policy, signals, warm_in)
    demand = max(backlog.replicas, _for_arrivals(policy, signals))
    taken = signals.running - signals.draining
    floor = max(min(signals.running, 1), _whole(taken / policy.concurrency))
    if floor > demand:
        return _Cut(floor, Limiter.RUNNING)
    return _Cut(demand, backlog.limiter if demand == backlog.replicas else Limiter.NONE)


def _for_arrivals(policy: PoolPolicy, signals: Signals) -> int:
    offered = signals.arrival_per_second * signals.service_seconds
    load = offered / (policy.concurrency * policy.utilization)
    if load >= 1 or signals.waiting or signals.running:
        return _whole(load)
    return 0


def _for_backlog(policy: PoolPolicy, signals: Signals, warm_in: float) -> _Cut:
    """For what waits; `warm_in` seconds are left until those that were asked for last work."""
    if not signals.waiting:
        return _Cut(1 if signals.parked else 0, Limiter.NONE)
    useful = _useful(policy, signals)
    work = signals.waiting * signals.service_seconds
    left = policy.objective_seconds - signals.oldest_seconds - policy.cold_start_seconds
    in_time = max(1, _whole(work / (policy.concurrency * left))) if left > 0 else useful + 1
    wanted = min(in_time, useful)
    if wanted > signals.current and warm_in > 0:
        free = signals.current * policy.concurrency - (signals.running - signals.draining)
        if work <= free * (left + policy.cold_start_seconds - warm_in) * (1 + _ROUNDING):
            return _Cut(signals.current, Limiter.NONE)
    return _Cut(wanted, Limiter.USEFUL if in_time > useful else Limiter.NONE)


def _useful(policy: PoolPolicy, signals: Signals) -> int:
    """Replicas whose slots what waits and runs can fill."""
    every = (signals.waiting + signals.running) / policy.concurrency
    if not signals.interactive:
        return _whole(every)
    open_slots = policy.concurrency - max(1, policy.concurrency // 8)
    return _whole(max(every, (signals.interactive + signals.running) / open_slots))


def _bounds(policy: PoolPolicy, signals: Signals) -> list[_Cut]:
    """Every bound from above that there is; of equal ones the first is the one that is named."""
    bounds = [_Cut(max(signals.current, 1), Limiter.OUTAGE)] if signals.blocked else []
    bounds.append(_Cut(policy.max_replicas, Limiter.MAX))
    if signals.max_ack_pending > 0:
        given_out = signals.max_ack_pending // policy.concurrency
        bounds.append(_Cut(max(1, given_out), Limiter.ACK_PENDING))
    return bounds + _budgets(policy, signals)


def _budgets(policy: PoolPolicy, signals: Signals) -> list[_Cut]:
    """What the limits allow of replicas that are full, as far as it is known what a job takes."""
    budgets = []
    if policy.tokens_per_second is not None and signals.tokens_per_job:
        tokens = _affordable(policy, signals, policy.tokens_per_second, signals.tokens_per_job)
        budgets.append(_Cut(tokens, Limiter.TOKEN_BUDGET))
    if policy.usd_per_hour is not None and signals.usd_per_job:
        usd = _affordable(policy, signals, policy.usd_per_hour / 3600, signals.usd_per_job)
        budgets.append(_Cut(usd, Limiter.COST_CAP))
    return budgets


def _affordable(policy: PoolPolicy, signals: Signals, per_second: float, of_a_job: float) -> int:
    """How many full replicas a budget allows: each runs `concurrency / service` jobs a second."""
    within = per_second * signals.service_seconds
    of_one = of_a_job * policy.concurrency
    if within >= of_one * policy.max_replicas:
        return policy.max_replicas
    return max(1, math.floor(within / of_one + _ROUNDING))


def _within_bounds(policy: PoolPolicy, signals: Signals, want: _Cut) -> _Cut:
    bound = min(_bounds(policy, signals), key=lambda each: each.replicas)
    if want.replicas > bound.replicas:
        return bound
    if want.replicas < policy.min_replicas:
        least = _Cut(policy.min_replicas, Limiter.MIN)
        return bound if least.replicas > bound.replicas else least
    return want


def _stabilized(
    policy: PoolPolicy, signals: Signals, cut: _Cut, recent: Recent, now: float
) -> _Cut:
    """What was wanted lately, or is not known, keeps replicas that are there; it adds none."""
    lately = max((want for _, want in recent.wants), default=0)
    known = now - recent.since >= policy.scale_in_seconds
    pause = policy.scale_in_seconds * _PAUSE
    if not known or (recent.lowered is not None and now - recent.lowered < pause):
        lately = signals.current
    most = min(bound.replicas for bound in _bounds(policy, signals))
    kept = min(signals.current, lately, most)
    return _Cut(kept, Limiter.STABILIZING) if kept > cut.replicas else cut


def _look_back(recent: Recent, current: int, now: float) -> Recent:
    """What is remembered, as far as one has looked without a gap, with what has changed since.

    A number that rose did so because of the look before, and as soon as that.
    """
    last = recent.wants[-1][0] if recent.wants else recent.since
    if now - last > _BLIND_SECONDS:
        return Recent(now, current=current)
    if not recent.wants or current == recent.current:
        return replace(recent, current=current)
    if current > recent.current:
        return replace(recent, current=current, raised=last)
    return replace(recent, current=current, lowered=now)


def _remember(recent: Recent, want: int, now: float, seconds: float) -> Recent:
    kept = [(at, told) for at, told in recent.wants if now - at < seconds and told > want]
    return replace(recent, wants=(*kept, (now, want)))


def _warm_in(policy: PoolPolicy, recent: Recent, now: float) -> float:
    """Seconds until the replicas that were asked for last work; 0 where they do, or none were."""
    if recent.raised is None:
        return 0.0
    return max(0.0, recent.raised + policy.cold_start_seconds - now)


def _whole(replicas: float) -> int:
    return math.ceil(replicas - _ROUNDING)


def _facts(signals: Signals) -> str:
    parts = []
    if signals.waiting:
        verb = "waits" if signals.waiting == 1 else "wait"
        parts.append(f"{signals.waiting:,} {verb}, the oldest {signals.oldest_seconds:.1f} s")
    if signals.running:
        parts.append(f"{signals.running:,} {'runs' if signals.running == 1 else 'run'}")
    if signals.parked:
        parts.append(f"{signals.parked:,} parked until a provider answers")
    # Less would read as none.
    if signals.arrival_per_second >= 0.05:
        rate, service = signals.arrival_per_second, signals.service_seconds
        parts.append(f"{rate:,.1f} arrive a second and take {service:.1f} s")
    return "; ".join(parts) or "nothing waits or runs"


def _verdict(policy: PoolPolicy, signals: Signals, wanted: int, cut: _Cut) -> str:
    told = _replicas(cut.replicas)
    sentence = _VERDICTS[cut.limiter]
    return sentence.format(told=told, wanted=f"{wanted:,}", policy=policy, signals=signals)


def _replicas(number: int) -> str:
    return f"{number:,} replica" if number == 1 else f"{number:,} replicas"
