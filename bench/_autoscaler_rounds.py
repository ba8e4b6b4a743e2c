"""The sides of bench.autoscaler, and what is told of one trace with one side."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench._autoscaler_keda import Behavior, Keda, KedaRules
from bench._autoscaler_operator import Operator
from bench._autoscaler_world import Scaler, Trace, World
from bench._child import quantile
from tidegate_operator.scaling import PoolPolicy


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all sides; of `objective`, in seconds, only Tidegate's knows."""

    concurrency: int
    max_replicas: int
    cold_start: float
    objective: float


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    title: str
    scaler: Callable[[Setting], Scaler]


@dataclass(frozen=True, slots=True)
class Round:
    """`ages` are those of jobs as they left the queue: seconds from when one came until the attempt
    began that answered it. `waiting` is (when, age of the oldest that waits)."""

    trace: Trace
    side: Side
    setting: Setting
    ages: Sequence[float]
    pod_minutes: float
    changes: Sequence[tuple[float, int]]
    waiting: Sequence[tuple[float, float]]

    @property
    def p95(self) -> float:
        return quantile(self.ages, 0.95)

    @property
    def oldest(self) -> float:
        return max(self.ages, default=0.0)

    @property
    def late(self) -> int:
        """Jobs that were older than the objective when they left the queue."""
        return sum(age > self.setting.objective for age in self.ages)

    @property
    def peak(self) -> int:
        return max(replicas for _, replicas in self.changes)

    @property
    def peak_in_outage(self) -> int:
        """The most replicas that were asked for while no provider answered; 0 without an outage."""
        begins, ends = self.trace.outage or (0.0, 0.0)
        before = [replicas for at, replicas in self.changes if at <= begins]
        return max([before[-1], *(n for at, n in self.changes if begins < at <= ends)])


def _tidegate(setting: Setting) -> Scaler:
    policy = PoolPolicy(
        max_replicas=setting.max_replicas,
        concurrency=setting.concurrency,
        objective_seconds=setting.objective,
        cold_start_seconds=setting.cold_start,
    )
    return Operator(policy)


def _keda(setting: Setting) -> Scaler:
    """As it comes: a replica for as many jobs as it can run at once."""
    return Keda(KedaRules(setting.concurrency, setting.max_replicas))


def _tuned_keda(setting: Setting) -> Scaler:
    """As somebody who knows both sets it up: polls of 5 s, all pods at once, 60 s to go down."""
    rules = KedaRules(
        setting.concurrency,
        setting.max_replicas,
        polling_seconds=5.0,
        cooldown_seconds=60.0,
        behavior=Behavior(most_added=setting.max_replicas, down_seconds=60.0),
        first_poll=2.5,
    )
    return Keda(rules)


SIDES = (
    Side("tidegate", "Tidegate's operator", _tidegate),
    Side("keda", "KEDA + HPA", _keda),
    Side("keda-tuned", "KEDA + HPA, tuned", _tuned_keda),
)


def replay(trace: Trace, side: Side, setting: Setting) -> Round:
    """One trace with one side, to its end."""
    world = World(trace, side.scaler(setting), setting.concurrency, setting.cold_start)
    world.run()
    ages = [(math.inf if job.begun is None else job.begun) - job.came for job in world.jobs]
    return Round(trace, side, setting, ages, world.pod_seconds / 60, world.changes, world.samples)
