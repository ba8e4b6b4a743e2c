"""What KEDA 2.21 and the HorizontalPodAutoscaler of Kubernetes 1.36 do with a JetStream consumer.

KEDA, by keda.sh ("ScaledObject specification": `pollingInterval`, `cooldownPeriod`,
`minReplicaCount`; "Scaling Deployments"; "NATS JetStream": `lagThreshold`,
`activationLagThreshold`) and its pkg/scaling/executor/scale_scaledobjects.go:

- The lag of a consumer is `num_pending + num_ack_pending`: what waits, and what runs.
- Every `pollingInterval` KEDA looks at it itself. With a lag above 0 it takes the Deployment from 0
  to 1 and notes the time; without one, `cooldownPeriod` after the last poll that saw a lag, to 0.
  That time is stored in whole seconds, so the poll that comes exactly then is late enough.
- From 1 on the HPA rules. KEDA makes it, hands it the lag as an external metric with the target
  `AverageValue: lagThreshold`, and asks the queue anew each time that the HPA asks.

The HPA, by kubernetes.io ("Horizontal Pod Autoscaling": algorithm details, configurable scaling
behavior; "kube-controller-manager": `--horizontal-pod-autoscaler-*`) and its horizontal.go:

- Every 15 s it wants `ceil(lag / lagThreshold)`, or what there is while lag / (replicas x
  lagThreshold) is within 0.1 of 1.
- Without `behavior`, which KEDA leaves out unless told otherwise, it takes the highest of what was
  wanted within 300 s, also on the way up, and then at most max(2 x replicas, 4). (The documented
  default policies, 100 % or 4 pods in 15 s, would give 1, 5, 10, 20, 40 where a node gave 1, 4, 8,
  16, 32: they are filled in only where `behavior` is there.)
- With `behavior`, going up and down are stabilized apart, and policies bound the step.
- It never goes below 1, and rests while there are 0.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from bench._autoscaler_world import World

_TOLERANCE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Behavior:
    """`advanced.horizontalPodAutoscalerConfig.behavior`: pods added in one sync at most, and the
    scale-down window; all may go at once."""

    most_added: int
    down_seconds: float


@dataclass(frozen=True, slots=True)
class KedaRules:
    """Defaults are those of KEDA and Kubernetes; when the first poll and sync come is in no one's
    hand. At 15 s and 0 s, a burst on the minute meets a poll half an interval later."""

    lag_threshold: int
    max_replicas: int
    polling_seconds: float = 30.0
    cooldown_seconds: float = 300.0
    sync_seconds: float = 15.0
    stabilization_seconds: float = 300.0
    behavior: Behavior | None = None
    first_poll: float = 15.0
    first_sync: float = 0.0


@dataclass(slots=True)
class Hpa:
    """The HPA's loop; `desired` is one round of it."""

    rules: KedaRules
    _recommended: list[tuple[float, int]] = field(default_factory=list)

    def desired(self, now: float, replicas: int, lag: int) -> int:
        """How many replicas there should be; 0 where there are none."""
        if replicas == 0:
            return 0
        wanted = self._wanted(replicas, lag)
        stable = self._stabilized(now, replicas, wanted)
        behavior = self.rules.behavior
        allowed = replicas + behavior.most_added if behavior else max(2 * replicas, 4)
        return max(1, min(stable, self.rules.max_replicas, allowed))

    def _wanted(self, replicas: int, lag: int) -> int:
        ratio = lag / (self.rules.lag_threshold * replicas)
        if 1 - _TOLERANCE <= ratio <= 1 + _TOLERANCE:
            return replicas
        return math.ceil(lag / self.rules.lag_threshold)

    def _stabilized(self, now: float, replicas: int, wanted: int) -> int:
        behavior = self.rules.behavior
        window = behavior.down_seconds if behavior else self.rules.stabilization_seconds
        self._recommended = [each for each in self._recommended if each[0] > now - window]
        self._recommended.append((now, wanted))
        if behavior and wanted >= replicas:
            return wanted
        return max(recommended for _, recommended in self._recommended)


@dataclass(slots=True)
class Keda:
    """KEDA and its HPA as one scaler of the simulated world."""

    rules: KedaRules
    _hpa: Hpa = field(init=False)
    _next_poll: float = field(init=False)
    _next_sync: float = field(init=False)
    _last_active: float | None = None

    def __post_init__(self) -> None:
        self._hpa = Hpa(self.rules)
        self._next_poll, self._next_sync = self.rules.first_poll, self.rules.first_sync

    def first(self) -> float:
        return min(self._next_poll, self._next_sync)

    def woken(self, now: float) -> float | None:
        """KEDA hears nothing from the queue: it polls."""
        del now
        return None

    def act(self, world: World) -> float:
        # Where both fall on one moment the HPA is first, which then sees what was before the poll.
        if world.now >= self._next_sync:
            world.scale(self._hpa.desired(world.now, world.replicas, world.depth))
            self._next_sync += self.rules.sync_seconds
        if world.now >= self._next_poll:
            world.scale(self._polled(world.now, world.replicas, world.depth))
            self._next_poll += self.rules.polling_seconds
        return self.first()

    def _polled(self, now: float, replicas: int, lag: int) -> int:
        if lag > 0:
            self._last_active = now
            return max(replicas, 1)
        cool = self._last_active is None or now - self._last_active >= self.rules.cooldown_seconds
        return 0 if cool else replicas
