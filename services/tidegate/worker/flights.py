"""Single flight: of all jobs that ask the same at once, one calls the model, and holds a lease.

The lease is one message (`lease`), fenced by the stream sequence of the one before. It is renewed
while the call goes on, and is released once its answer can be found elsewhere. A process that dies
lets it run out. All this saves calls and is needed for nothing else: where NATS does not say at
once who leads, a job goes on without a flight.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    WRONG_LAST_SEQUENCE,
    WRONG_LAST_SEQUENCE_UNKNOWN,
    JetStream,
    JetStreamError,
    RefusedError,
)
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.subjects import FLIGHTS_STREAM, MESSAGE_TTL, flight_subject
from tidegate.worker.lease import (
    Free,
    Lease,
    Mine,
    Standing,
    Unreadable,
    encode_lease,
    new_lease,
    released,
    standing,
)
from tidegate.worker.metrics import WorkerCacheMetrics

_log = structlog.stdlib.get_logger(module=__name__)

T = TypeVar("T")

_BACKOFF: Final = Backoff(0.05, 0.5)
_MOMENT_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 1.0
# The patience with NATS is had in so many parts: a process that stood still for one of them takes
# that for no more than one part of silence.
_PARTS: Final = 5


@dataclass(frozen=True, slots=True)
class FlightPolicy:
    """Seconds: a lease lasts for `lease`, and is renewed every `renew`.

    `answer` is how long NATS has to say who leads. A follower that hears nothing for `look` looks
    at the lease. That a flight has ended is remembered for `landed`.
    """

    lease: int = 10
    renew: float = 3.0
    answer: float = 0.25
    look: float = 3.0
    landed: int = 5


DEFAULT_POLICY: Final = FlightPolicy()


class Flight:
    """The lease that a job of this process holds, until it is released or lost."""

    def __init__(self, subject: str, lease: Lease, sequence: int, *, sent_at: float) -> None:
        self.subject = subject
        self.lease = lease
        self.payload = encode_lease(lease)
        self.sequence = sequence
        # When what is stored last was sent: it lasts for no less than its time from then on.
        self.sent_at = sent_at
        self.lost = False
        self.released = False
        self.renewal: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is kept up any more."""
        return self.lost or self.released


class Flights:
    """A component; end it after all who hold a flight. `clock` is monotonic, in seconds."""

    name = "flights"

    def __init__(
        self,
        jetstream: JetStream,
        guard: TaskGuard,
        metrics: WorkerCacheMetrics,
        *,
        policy: FlightPolicy = DEFAULT_POLICY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self._jetstream = jetstream
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._held: set[Flight] = set()
        self._releases: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing: the stream is the gateway's to make, and missing it costs calls alone."""

    async def stop(self, deadline: Deadline) -> None:
        """Releases what is still held, as far as time allows."""
        for flight in tuple(self._held):
            self.release(flight)
        if self._releases:
            seconds = min(deadline.remaining() / 2, _STOP_SECONDS)
            await asyncio.wait(self._releases, timeout=seconds)
        for task in self._releases:
            task.cancel()

    def holds(self, flight: Flight) -> bool:
        """Whether nobody else can have the lease: known here, without asking."""
        return not flight.over and self._clock() < flight.sent_at + self.policy.lease

    async def look(self, tenant: str, key: str, job_id: str, *, void: str = "") -> Standing | None:
        """How it stands with a request for one of its jobs; None: NATS does not say.

        `void` is as in `standing`.
        """
        subject = flight_subject(tenant, key)
        found: Standing | None
        found = await self._in_time(self._standing(subject, new_lease(job_id), void))
        return None if isinstance(found, Unreadable) else found

    async def acquire(
        self, tenant: str, key: str, job_id: str, *, fence: int = 0, void: str = ""
    ) -> Flight | Lease | Free | None:
        """The job's own flight, or the lease of whom it may follow.

        `fence` is what it is to be taken by: 0 where nobody is known to lead. A flight that landed
        a moment ago is told instead of taken, unless it is the one of `fence`. None: NATS does not
        say, or nothing follows from what it says. The lease may then be there all the same, and
        run out.
        """
        subject, lease = flight_subject(tenant, key), new_lease(job_id)
        found: Flight | Lease | Free | None
        found = await self._in_time(self._acquire(subject, lease, fence, void))
        if isinstance(found, Flight):
            # Only now: an acquisition that nobody waits for any more must not be kept up.
            self._held.add(found)
            found.renewal = self._guard.spawn("flight-renewal", self._renew(found))
        return found

    def release(self, flight: Flight) -> None:
        """Lets others have it, in the background."""
        if flight.over:
            return
        flight.released = True
        self._drop(flight)
        task = self._guard.spawn("flight-release", self._release(flight))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _in_time(self, work: Coroutine[Any, Any, T | None]) -> T | None:
        """What becomes of the work; None if that takes too long. It is not waited for any more."""
        task = asyncio.create_task(work, name="flight")
        try:
            for _ in range(_PARTS):
                done, _ = await asyncio.wait({task}, timeout=self.policy.answer / _PARTS)
                if done:
                    return task.result()
        finally:
            task.cancel()
        return None

    async def _acquire(
        self, subject: str, lease: Lease, fence: int, void: str
    ) -> Flight | Lease | Free | None:
        payload = encode_lease(lease)
        try:
            while True:
                sent_at = self._clock()
                found = await self._put(subject, payload, fence, lease, void)
                if isinstance(found, Mine):
                    return Flight(subject, lease, found.sequence, sent_at=sent_at)
                if isinstance(found, Unreadable):
                    return None
                if isinstance(found, Lease) or found.landed:
                    return found
                fence = found.fence
        except JetStreamError:
            return None

    async def _put(
        self, subject: str, payload: bytes, fence: int, lease: Lease, void: str = ""
    ) -> Standing:
        """Writes a lease; what is there then.

        Raises:
            NoAnswerError, RefusedError: it is not known.
        """
        sequence = await self._publish(subject, payload, fence, self.policy.lease)
        if sequence is not None:
            return Mine(sequence, just_now=True)
        return standing(await self._jetstream.last(FLIGHTS_STREAM, subject), lease, void=void)

    async def _publish(self, subject: str, payload: bytes, fence: int, ttl: int) -> int | None:
        """The sequence; None: something else is there than what was to be followed."""
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(fence), MESSAGE_TTL: f"{ttl}s"}
        while True:
            try:
                return await self._jetstream.publish(subject, payload, headers)
            except RefusedError as refusal:
                if refusal.code == WRONG_LAST_SEQUENCE:
                    return None
                if refusal.code != WRONG_LAST_SEQUENCE_UNKNOWN:
                    raise
            # On a cluster, while another's is on its way: it will be known in a moment.
            await asyncio.sleep(_MOMENT_SECONDS)

    async def _standing(self, subject: str, lease: Lease, void: str) -> Standing | None:
        try:
            last = await self._jetstream.last(FLIGHTS_STREAM, subject)
        except JetStreamError:
            return None
        return standing(last, lease, void=void)

    def _drop(self, flight: Flight) -> None:
        self._held.discard(flight)
        if flight.renewal is not None and flight.renewal is not asyncio.current_task():
            flight.renewal.cancel()

    async def _renew(self, flight: Flight) -> None:
        tries = 0
        pause = self.policy.renew
        while not flight.over:
            await asyncio.sleep(pause)
            try:
                renewed = await self._renew_once(flight)
            except JetStreamError:
                pause = _BACKOFF.seconds(tries)
                tries += 1
            else:
                pause, tries = self.policy.renew if renewed else 0.0, 0

    async def _renew_once(self, flight: Flight) -> bool:
        """Whether it lasts from now on, or is lost; else it is to be renewed again at once.

        Raises:
            NoAnswerError, RefusedError: it is not known.
        """
        sent_at = self._clock()
        found = await self._put(flight.subject, flight.payload, flight.sequence, flight.lease)
        if found == Free() and self.holds(flight):
            # It cannot have run out yet: the stream, which is in memory, was lost, and made anew.
            found = await self._put(flight.subject, flight.payload, 0, flight.lease)
        if isinstance(found, Mine):
            flight.sequence = found.sequence
            if found.just_now:
                flight.sent_at = sent_at
            # One that was found is an earlier one, and may run out at any moment.
            return found.just_now
        flight.lost = True
        self._drop(flight)
        self._metrics.flights.labels("lost").inc()
        _log.info("flight lost", job=flight.lease.job)
        return True

    async def _release(self, flight: Flight) -> None:
        """Says that it is over; where that fails it runs out."""
        with suppress(JetStreamError):
            payload, landed = encode_lease(released(flight.lease)), self.policy.landed
            if await self._publish(flight.subject, payload, flight.sequence, landed) is None:
                # A renewal may have been under way.
                last = await self._jetstream.last(FLIGHTS_STREAM, flight.subject)
                found = standing(last, flight.lease)
                if isinstance(found, Mine):
                    await self._publish(flight.subject, payload, found.sequence, landed)
