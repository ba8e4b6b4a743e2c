"""Tidegate's operator as a scaler of the simulated world, by its own decision.

What is around that is simplified: a look a second, one in ten seconds while it sleeps; the word of
a gateway half a second after the first job; workers tell every two seconds, all at once. All jobs
are of the batch class, which may use every slot.
"""

from dataclasses import dataclass, field
from typing import Final

from bench._autoscaler_world import World
from tidegate_operator.scaling import PoolPolicy, Recent, decide
from tidegate_operator.signals import Ages, Arrivals, ConsumerLook, Means, Told, signals_of

_LOOK_SECONDS: Final = 1.0
_ASLEEP_SECONDS: Final = 10.0
_WAKE_SECONDS: Final = 0.5
_TELL_SECONDS: Final = 2.0
# A mean over jobs fades by half in so many seconds.
_HALF_LIFE_SECONDS: Final = 60.0
# What one of the queue's consumers gives out.
_MAX_ACK_PENDING: Final = 10_000
_NO_JOBS: Final = ConsumerLook(0, 0, 0, _MAX_ACK_PENDING)


@dataclass(slots=True)
class Telling:
    """What workers say together, as old as it may be."""

    _told: Told | None = None
    _at: float = -_TELL_SECONDS
    _ended: float = 0.0
    _busy: float = 0.0
    _seen: tuple[int, float] = (0, 0.0)

    def heard(self, world: World) -> Told | None:
        """None where no pod works."""
        if world.now - self._at >= _TELL_SECONDS:
            self._tell(world)
        return self._told

    def _tell(self, world: World) -> None:
        ended, busy = world.ended - self._seen[0], world.busy_seconds - self._seen[1]
        if ended:
            fade = 0.5 ** ((world.now - self._at) / _HALF_LIFE_SECONDS)
            self._ended, self._busy = self._ended * fade + ended, self._busy * fade + busy
        self._at, self._seen = world.now, (world.ended, world.busy_seconds)
        service = self._busy / self._ended if self._ended else None
        works = any(pod.ready for pod in world.pods)
        self._told = Told(world.running, 0, world.blocked, service, None, None) if works else None


@dataclass(slots=True)
class Operator:
    policy: PoolPolicy
    service_seconds: float = 10.0
    _arrivals: Arrivals = field(default_factory=Arrivals)
    _telling: Telling = field(default_factory=Telling)
    _means: Means = field(default_factory=Means)
    _recent: Recent | None = None
    _asleep: bool = True

    def first(self) -> float:
        return 0.0

    def woken(self, now: float) -> float | None:
        """The word for the first job; those that come until it is heard say nothing new."""
        if not self._asleep:
            return None
        self._asleep = False
        return now + _WAKE_SECONDS

    def act(self, world: World) -> float:
        look = ConsumerLook(
            num_pending=len(world.pending),
            num_ack_pending=world.running + len(world.returned),
            consumer_sequence=world.deliveries,
            max_ack_pending=_MAX_ACK_PENDING,
        )
        self._arrivals = self._arrivals.seen(look, world.now)
        told = self._telling.heard(world)
        means = self._means = self._means.updated(told)
        signals = signals_of(
            _NO_JOBS,
            look,
            told,
            ages=Ages(world.oldest),
            arrival_per_second=self._arrivals.per_second,
            means=means,
            guess_seconds=self.service_seconds,
            current=world.replicas,
        )
        decision = decide(self.policy, signals, self._recent or Recent(world.now), world.now)
        self._recent = decision.recent
        world.scale(decision.replicas)
        self._asleep = not (decision.replicas or look.depth)
        return world.now + (_ASLEEP_SECONDS if self._asleep else _LOOK_SECONDS)
