"""The lease of a flight on a real stream: at most one job has it, and it ends by itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.support.log_world import LogWorld, wait_until
from tests.support.nats_server import NatsServer
from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import (
    WRONG_LAST_SEQUENCE_UNKNOWN,
    JetStream,
    NoAnswerError,
    RefusedError,
)
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.subjects import FLIGHTS_STREAM, flight_subject
from tidegate.worker.flights import Flight, FlightPolicy, Flights
from tidegate.worker.lease import Free, Lease
from tidegate.worker.metrics import WorkerCacheMetrics

TENANT, KEY = "acme", "b" * 64
SUBJECT = flight_subject(TENANT, KEY)
QUICK = FlightPolicy(lease=1, renew=0.2, answer=5.0, landed=1)
# Nobody keeps these up.
UNKEPT = FlightPolicy(lease=1, renew=600.0, answer=5.0, landed=600)


class Lossy(JetStream):
    """What is published is stored; `losses` of the answers are lost, `refusals` come before."""

    losses = 0
    refusals = 0
    lost = 0
    # What comes after a refusal by the server waits for it.
    after_refusal: asyncio.Event | None = None
    refused = False

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        if self.refusals:
            self.refusals -= 1
            raise RefusedError(WRONG_LAST_SEQUENCE_UNKNOWN, "another is under way")
        if self.refused and self.after_refusal is not None:
            await self.after_refusal.wait()
        try:
            sequence = await super().publish(subject, payload, headers)
        except RefusedError:
            self.refused = True
            raise
        if self.losses:
            self.losses -= 1
            self.lost += 1
            raise NoAnswerError("lost")
        return sequence


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


class Fleet:
    """Processes that hold flights."""

    def __init__(self, world: LogWorld, stack: contextlib.AsyncExitStack) -> None:
        self._world = world
        self._stack = stack
        self.jetstream: Lossy

    async def process(
        self, policy: FlightPolicy = QUICK, clock: Callable[[], float] = time.monotonic
    ) -> Flights:
        """One more, on a connection of its own."""
        peer = await self._world.peer()
        jetstream = self.jetstream = Lossy(peer.client)
        await jetstream.start()
        guard = TaskGuard()
        metrics = WorkerCacheMetrics(CollectorRegistry())
        flights = Flights(jetstream, guard, metrics, policy=policy, clock=clock)
        self._stack.push_async_callback(guard.cancel_all)
        self._stack.push_async_callback(flights.stop, Deadline(2.0))
        return flights


@pytest.fixture
async def fleet(world: LogWorld) -> AsyncIterator[Fleet]:
    async with contextlib.AsyncExitStack() as stack:
        yield Fleet(world, stack)


async def taken(flights: Flights, job: str, *, fence: int = 0, void: str = "") -> Flight:
    """The flight, which must be had."""
    found = await flights.acquire(TENANT, KEY, job, fence=fence, void=void)
    assert isinstance(found, Flight)
    return found


async def sequence_of(world: LogWorld) -> int:
    """Of what is stored; 0 for nothing."""
    last = await world.jetstream.last(FLIGHTS_STREAM, SUBJECT)
    return 0 if last is None else last.sequence


async def test_of_many_at_once_one_leads_and_all_others_know_whom(fleet: Fleet) -> None:
    processes = [await fleet.process() for _ in range(4)]
    found = await asyncio.gather(
        *(
            flights.acquire(TENANT, KEY, f"job_{number}_{each}")
            for number, flights in enumerate(processes)
            for each in range(25)
        )
    )
    (flight,) = [each for each in found if isinstance(each, Flight)]
    assert {each for each in found if not isinstance(each, Flight)} == {flight.lease}


async def test_a_lease_is_kept_up_for_as_long_as_it_is_held(world: LogWorld, fleet: Fleet) -> None:
    one = await fleet.process(FlightPolicy(lease=2, renew=0.2, answer=5.0))
    other = await fleet.process()
    flight = await taken(one, "job_a")
    await asyncio.sleep(3.5)
    assert await other.acquire(TENANT, KEY, "job_b") == flight.lease
    assert one.holds(flight)
    assert await sequence_of(world) == flight.sequence


async def test_a_lease_that_is_not_kept_up_runs_out(fleet: Fleet) -> None:
    """And whoever did not keep it up knows, without asking."""
    one, other = await fleet.process(UNKEPT), await fleet.process()
    flight = await taken(one, "job_a")
    while not isinstance(await other.acquire(TENANT, KEY, "job_b"), Flight):
        await asyncio.sleep(0.05)
    assert not one.holds(flight)


async def test_what_was_released_can_be_taken_by_who_knows_that_it_was(
    world: LogWorld, fleet: Fleet
) -> None:
    one, other = await fleet.process(), await fleet.process(UNKEPT)
    one.release(await taken(one, "job_a"))
    while not isinstance(landed := await other.look(TENANT, KEY, "job_b"), Free):
        await asyncio.sleep(0.01)
    assert landed == Free(await sequence_of(world), landed=True)
    # Its answer may be in the cache: first it is looked for.
    assert await other.acquire(TENANT, KEY, "job_b") == landed
    found = await asyncio.gather(
        *(other.acquire(TENANT, KEY, f"job_{number}", fence=landed.fence) for number in range(20))
    )
    assert sum(isinstance(each, Flight) for each in found) == 1


async def test_a_release_is_forgotten_after_a_while(world: LogWorld, fleet: Fleet) -> None:
    one = await fleet.process()
    one.release(await taken(one, "job_a"))
    while await sequence_of(world):
        await asyncio.sleep(0.05)


async def test_a_jobs_next_attempt_takes_its_lease_over(fleet: Fleet) -> None:
    """And the attempt before it, wherever it sleeps, has lost it."""
    one, other = await fleet.process(), await fleet.process()
    before = await taken(one, "job_a")
    after = await taken(other, "job_a")
    await wait_until(lambda: before.lost)
    assert not one.holds(before)
    assert other.holds(after)


async def test_the_lease_of_a_job_that_has_ended_is_taken_once(fleet: Fleet) -> None:
    one, other = await fleet.process(), await fleet.process(UNKEPT)
    flight = await taken(one, "job_a")
    standing = await other.look(TENANT, KEY, "job_b", void=flight.lease.owner)
    assert isinstance(standing, Free)
    found = await asyncio.gather(
        *(
            other.acquire(
                TENANT, KEY, f"job_{number}", fence=standing.fence, void=flight.lease.owner
            )
            for number in range(20)
        )
    )
    (new,) = [each for each in found if isinstance(each, Flight)]
    assert {each for each in found if isinstance(each, Lease)} == {new.lease}


async def test_renewals_whose_answers_are_lost_lose_no_lease(fleet: Fleet) -> None:
    """Sent again they are refused, for they are stored: what is there is mine, byte for byte."""
    flights = await fleet.process()
    jetstream = fleet.jetstream
    flight = await taken(flights, "job_a")
    for _ in range(3):
        before, jetstream.losses = flight.sequence, 1
        await wait_until(lambda: jetstream.losses == 0 and flight.sequence > before)  # noqa: B023
    assert flights.holds(flight)


async def test_a_renewal_that_is_found_is_as_old_as_it_is(fleet: Fleet) -> None:
    """It may run out at any moment: taken for new, two would lead, and the model be paid twice."""
    policy = FlightPolicy(lease=10, renew=0.2, answer=5.0)
    # A minute goes by while the answer is lost.
    flights = await fleet.process(policy, clock=lambda: 60.0 * fleet.jetstream.lost)
    jetstream = fleet.jetstream
    flight = await taken(flights, "job_a")
    again = jetstream.after_refusal = asyncio.Event()
    before, jetstream.losses = flight.sequence, 1
    await wait_until(lambda: flight.sequence > before)
    assert not flights.holds(flight)
    # It is written anew, which was not refused: from then on nobody else can have it.
    again.set()
    await wait_until(lambda: flights.holds(flight))
    assert not flight.lost


async def test_a_release_right_after_a_renewal_that_was_not_answered_counts(
    world: LogWorld, fleet: Fleet
) -> None:
    flights = await fleet.process()
    jetstream = fleet.jetstream
    flight = await taken(flights, "job_a")
    jetstream.losses = 1
    await wait_until(lambda: jetstream.losses == 0)
    flights.release(flight)
    while not isinstance(await flights.look(TENANT, KEY, "job_b"), Free):
        await asyncio.sleep(0.01)


async def test_what_a_cluster_cannot_say_yet_is_asked_again(fleet: Fleet) -> None:
    """Else of a herd nearly all would call, each without knowing of the others."""
    flights = await fleet.process()
    fleet.jetstream.refusals = 3
    await taken(flights, "job_a")


async def test_a_lease_that_is_lost_with_the_stream_is_written_anew(
    world: LogWorld, fleet: Fleet
) -> None:
    flights = await fleet.process()
    flight = await taken(flights, "job_a")
    await world.jetstream.api(f"STREAM.PURGE.{FLIGHTS_STREAM}")
    while not await sequence_of(world):
        await asyncio.sleep(0.02)
    assert not flight.lost


async def test_a_lease_that_ran_out_is_not_written_anew(world: LogWorld, fleet: Fleet) -> None:
    """Somebody may have had it meanwhile, called, stored, and let it go."""
    flights = await fleet.process(FlightPolicy(lease=1, renew=2.5, answer=5.0))
    flight = await taken(flights, "job_a")
    await wait_until(lambda: flight.lost)
    assert await sequence_of(world) == 0


async def test_where_nats_says_nothing_nobody_waits(fleet: Fleet, nats_server: NatsServer) -> None:
    flights = await fleet.process(FlightPolicy(answer=0.25))
    nats_server.freeze()
    assert await flights.acquire(TENANT, KEY, "job_a") is None
    assert await flights.look(TENANT, KEY, "job_a") is None
    nats_server.thaw()


async def test_a_process_that_goes_releases_what_it_holds(world: LogWorld, fleet: Fleet) -> None:
    flights = await fleet.process(UNKEPT)
    for number in range(5):
        assert isinstance(await flights.acquire(TENANT, f"{number}" * 64, f"job_{number}"), Flight)
    await flights.stop(Deadline(5.0))
    for number in range(5):
        last = await world.jetstream.last(FLIGHTS_STREAM, flight_subject(TENANT, f"{number}" * 64))
        assert last is not None
        assert b'"released":true' in last.payload
