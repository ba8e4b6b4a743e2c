"""What a queue's two consumers and its workers say, made into the signals of a decision.

Pure: whoever looks gives numbers and times. Counting jobs is counting messages, each of which is in
one of three places: not delivered yet (`num_pending`), held by a worker, or delivered and held by
nobody (`num_ack_pending` without those held): its worker was drained or killed, or its provider
does not answer.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self, TypeVar

from tidegate_operator.scaling import Signals

_Known = TypeVar("_Known")

# After so many seconds a past rate counts half.
HALF_LIFE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ConsumerLook:
    """One answer to a look at a consumer.

    `consumer_sequence` is its `delivered.consumer_seq`, which counts deliveries, and again those
    that are repeated.
    """

    num_pending: int
    num_ack_pending: int
    consumer_sequence: int
    max_ack_pending: int

    @property
    def depth(self) -> int:
        """Jobs that wait, run or are parked: all that are not done."""
        return self.num_pending + self.num_ack_pending


@dataclass(frozen=True, slots=True)
class Told:
    """What all workers of a queue told lately, taken together.

    `running` are the jobs that they hold, of both classes; `waiting` are those of them that hold a
    slot while they wait for their provider. `blocked`: each of them says that no provider of the
    queue answers. The others are means over jobs; None: no job has ended yet, or none with a price.
    """

    running: int
    waiting: int
    blocked: bool
    service_seconds: float | None
    tokens_per_job: float | None
    usd_per_job: float | None
    # Those of `running` that are held by workers that take no more.
    draining: int = 0


@dataclass(frozen=True, slots=True)
class Means:
    """What workers told of a job before, as the pool's status remembers it; None: nothing yet."""

    service_seconds: float | None = None
    tokens_per_job: float | None = None
    usd_per_job: float | None = None

    def updated(self, told: Told | None) -> Self:
        """With what is told now; what nobody tells stays as it was."""
        if told is None:
            return self
        return replace(
            self,
            service_seconds=_newer(told.service_seconds, self.service_seconds),
            tokens_per_job=_newer(told.tokens_per_job, self.tokens_per_job),
            usd_per_job=_newer(told.usd_per_job, self.usd_per_job),
        )


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds since a queue's oldest jobs came in; None where there is none of them.

    `undelivered`: of those that no worker was ever given. `unacknowledged`: of those that one was.
    """

    undelivered: float | None = None
    unacknowledged: float | None = None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How many jobs come into one consumer a second, smoothed: `Arrivals()`, then `seen`.

    A job that arrives raises `num_pending`, or has been delivered since and raised
    `consumer_sequence`: their sum counts arrivals. It counts a repeated delivery too, which makes
    the rate too high for a moment, and misses a job cancelled while it waits. It smooths by time,
    not by looks, so that it does not matter how often one looks.
    """

    per_second: float = 0.0
    consumer_sequence: int = 0
    total: int = 0
    at: float | None = None

    def seen(self, look: ConsumerLook, now: float) -> Self:
        """After one more look, at `now` in seconds of a clock that never goes back.

        The first look, and the first at a consumer that was made anew (its sequence fell), say
        only from where on to count.
        """
        total = look.num_pending + look.consumer_sequence
        begun = replace(self, consumer_sequence=look.consumer_sequence, total=total, at=now)
        if self.at is None or look.consumer_sequence < self.consumer_sequence:
            return begun
        elapsed = now - self.at
        if elapsed <= 0:
            return self
        rate = max(0, total - self.total) / elapsed
        fade = 0.5 ** (elapsed / HALF_LIFE_SECONDS)
        return replace(begun, per_second=rate + (self.per_second - rate) * fade)


class _Places(NamedTuple):
    """Where the delivered jobs are: held, waiting again by class, parked."""

    held: int
    interactive: int
    batch: int
    parked: int


def signals_of(
    interactive: ConsumerLook,
    batch: ConsumerLook,
    told: Told | None,
    *,
    ages: Ages,
    arrival_per_second: float,
    means: Means,
    guess_seconds: float,
    current: int,
) -> Signals:
    """The signals of a queue. `told` is None where no worker tells anything.

    `arrival_per_second` is that of both consumers; `means` is what was known before `told`.
    `guess_seconds` is how long a job takes where nobody has ever told.
    """
    places = _places(interactive, batch, told, current)
    known = means.updated(told)
    return Signals(
        interactive=interactive.num_pending + places.interactive,
        batch=batch.num_pending + places.batch,
        running=places.held,
        oldest_seconds=oldest_seconds(ages, told),
        arrival_per_second=arrival_per_second,
        service_seconds=known.service_seconds or guess_seconds,
        tokens_per_job=known.tokens_per_job,
        usd_per_job=known.usd_per_job,
        max_ack_pending=_tighter(interactive.max_ack_pending, batch.max_ack_pending),
        blocked=told is not None and told.blocked,
        current=current,
        parked=places.parked,
        draining=told.draining if told else 0,
    )


def oldest_seconds(ages: Ages, told: Told | None) -> float:
    """The age of the oldest job that waits, 0 where none does.

    A delivered job is held by whoever tells, so its age is no wait; where nobody tells, nobody may
    hold it.
    """
    undelivered = ages.undelivered or 0.0
    return undelivered if told else max(undelivered, ages.unacknowledged or 0.0)


def _places(
    interactive: ConsumerLook, batch: ConsumerLook, told: Told | None, current: int
) -> _Places:
    """Where delivered jobs are.

    Where no worker tells, those that there are may be of an older release and hold all of them: a
    slot each is then all that the jobs can need. Without a replica nobody holds any. What is held
    by nobody waits again, the interactive ones first, since it is not known which they are; but
    while no provider answers it was handed back for that, and more workers would not help.
    """
    delivered = interactive.num_ack_pending + batch.num_ack_pending
    held = told.running if told else delivered if current else 0
    unheld = max(0, delivered - held)
    if told and told.blocked:
        return _Places(held, 0, 0, unheld)
    again = min(unheld, interactive.num_ack_pending)
    return _Places(held, again, unheld - again, 0)


def _tighter(one: int, other: int) -> int:
    """The smaller bound; 0 or less is none."""
    return min((bound for bound in (one, other) if bound > 0), default=0)


def _newer(told: _Known | None, known: _Known) -> _Known:
    return known if told is None else told
