"""A provider that is down: it is left in peace, some jobs wait, others are told when to come back.

Breakers are shared by the fleet. They open quickly here, and for short times.
"""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.support.gateway_world import until
from tests.support.nats_server import NatsServer
from tests.support.worker_world import (
    WorkerWorld,
    attempts_of,
    terminal_of,
    text_of_last_attempt,
    waits_of,
)
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Completed, Failed
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.spending import HANDED_BACK
from tidegate.providers.breaker import BreakerPolicy
from tidegate.worker.delivery import Deliveries, delivery_of

TRIP = 5
LONG = BreakerPolicy(consecutive=TRIP, open=60.0, longest_open=60.0)
SHORT = BreakerPolicy(consecutive=TRIP, open=0.5, longest_open=2.0)


async def trip(world: WorkerWorld, model: str = "sim-1") -> None:
    """Opens the main provider's breaker, with errors that are not tried again; it stays down."""
    await world.fault(fail=401, calls=TRIP)
    await world.fault(fail=500)
    for _ in range(TRIP):
        end = terminal_of(await world.until_end(await world.submit(model=model)))
        assert isinstance(end, Failed)
    await world.until_queue_empty()


async def submit_batch(
    world: WorkerWorld, number: int, model: str = "sim-1", queue: str | None = None
) -> list[QueuedJob]:
    return [
        await world.submit(tokens=5, job_class=JobClass.BATCH, model=model, queue=queue)
        for _ in range(number)
    ]


async def all_completed(world: WorkerWorld, jobs: list[QueuedJob]) -> None:
    for events in await asyncio.gather(*map(world.until_end, jobs)):
        assert isinstance(terminal_of(events), Completed)
        assert text_of_last_attempt(events) == world.answer(5)


async def test_an_interactive_job_is_told_when_to_come_back(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its caller waits at a screen; and the provider is spared the call."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(breaking=LONG)
        await trip(world)
        calls = (await world.stats())["started"]
        events = await world.until_end(await world.submit())
        end = terminal_of(events)
        assert isinstance(end, Failed)
        assert (end.reason, end.retriable) == (Reason.CIRCUIT_OPEN, True)
        assert end.retry_after_ms is not None
        assert 10_000 < end.retry_after_ms <= 120_000
        assert attempts_of(events) == []
        assert (await world.stats())["started"] == calls

        async def has_letter() -> bool:
            return Reason.CIRCUIT_OPEN in {each.reason for each in await world.dead_letters()}

        # It is written after the log's end.
        await until(has_letter)


async def test_an_interactive_job_waits_for_a_short_while(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(breaking=SHORT)
        await trip(world)
        await world.main.heal()
        job = await world.submit(tokens=5)
        await all_completed(world, [job])


async def test_another_provider_answers_while_the_first_is_not_called(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(breaking=LONG)
        await trip(world)
        calls = (await world.stats())["started"]
        events = await world.until_end(await world.submit(model="two-homes"))
        assert isinstance(terminal_of(events), Completed)
        assert [each.provider for each in attempts_of(events)] == ["backup"]
        assert (await world.stats())["started"] == calls


async def test_batch_jobs_wait_until_their_provider_is_back(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        worker = await world.start_worker(breaking=SHORT, max_attempts=1)
        await trip(world)
        (job,) = await submit_batch(world, 1)
        # A few probes later, none of which may use its only attempt up.
        calls = (await world.stats())["started"]
        await world.main.until_started(calls + 2)
        # Nor does the next worker count them.
        await worker.stop()
        await world.start_worker(breaking=SHORT, max_attempts=1)
        await world.main.until_started(calls + 3)
        await world.main.heal()
        await all_completed(world, [job])
        await world.until_queue_empty()


async def test_an_outage_of_one_model_leaves_the_others_their_slots(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Twenty jobs that cannot run, on eight slots, and callers of a healthy model beside them."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        policy = BreakerPolicy(consecutive=TRIP, open=3.0, longest_open=3.0)
        await world.start_worker(breaking=policy, worker_concurrency=8)
        await trip(world)
        calls = (await world.stats())["started"]
        jobs = await submit_batch(world, 20)
        steady = [await world.submit(tokens=5, model="steady") for _ in range(20)]
        await all_completed(world, steady)
        # Probes; of twenty jobs, all others were spared.
        assert (await world.stats())["started"] - calls < 20
        await world.main.heal()
        await all_completed(world, jobs)
        await world.until_queue_empty()


@pytest.mark.parametrize("delay", [0.0, 0.2, 60.0])
async def test_a_job_that_is_put_off_is_offered_in_its_time(
    delay: float, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        health, guard, settings = Health(), TaskGuard(), NatsSettings(nats_url=nats_server.url)
        metrics = ChassisMetrics(CollectorRegistry())
        nats = NatsConnection(settings, health, guard, metrics, service="test")
        await world.submit()
        inbox = world.client.new_inbox()
        offered = await world.client.subscribe(inbox)
        subject = "$JS.API.CONSUMER.MSG.NEXT.JOBS.default-interactive"
        batch = b"1" if delay > 1 else b"2"
        request = b'{"batch": %b, "expires": 30000000000}' % batch
        await world.client.publish(subject, request, reply=inbox)
        given = delivery_of(await offered.next_msg(10))
        assert await Deliveries(nats, world.jetstream).hand_back(given, delay=delay)
        if delay > 1:
            assert not await world.is_offered()
        else:
            assert delivery_of(await offered.next_msg(20)).subject == given.subject


async def test_the_batch_queue_of_a_dead_provider_is_left_alone(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Taking jobs and handing them back, again and again, would be a storm of its own."""
    async with WorkerWorld(nats_server, tmp_path, queues=("default", "alone")) as world:
        policy = BreakerPolicy(consecutive=TRIP, open=4.0, longest_open=4.0)
        await world.start_worker(breaking=policy)
        await trip(world)
        jobs = await submit_batch(world, 30, model="alone", queue="alone")
        await world.main.heal()
        await all_completed(world, jobs)
        info = await world.jetstream.api("CONSUMER.INFO.JOBS.alone-batch")
        assert info["delivered"]["consumer_seq"] <= 30 + 8


async def test_batch_jobs_beyond_the_reserve_wait_in_the_queue(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Of the slots that they had borrowed, an outage gives all but the reserve back."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        jobs = await submit_batch(world, 4)
        await world.fault(fail=429, retry_after=4, calls=4)
        await world.start_worker(worker_concurrency=8)
        put_off = 0
        for events in await asyncio.gather(*map(world.until_end, jobs)):
            assert isinstance(terminal_of(events), Completed)
            reasons = [each.reason for each in waits_of(events)]
            put_off += HANDED_BACK in reasons
            # Being put off costs no attempt; the call that failed was one.
            assert [each.attempt for each in attempts_of(events)] == [1, 2]
        # One may wait in its slot, and others come one by one as its turn ends.
        assert put_off >= 2
        await world.until_queue_empty()


async def test_three_workers_make_one_probe_at_a_time(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A provider that gets up again must not be knocked over by all who waited for it."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(breaking=SHORT)
        await trip(world)
        for _ in range(2):
            # These know of the outage by the fleet's word alone.
            await world.start_worker(breaking=SHORT)
        await world.main.heal()
        async with world.main.http.delete("/stats") as response:
            assert response.status == 204
        # Slow to fail, so that two at once would be seen.
        await world.fault(ttft=0.5, cut_after=0)
        jobs = await submit_batch(world, 6)
        await world.main.until_started(3)
        assert (await world.stats())["most_running"] == 1
        await world.main.heal()
        await all_completed(world, jobs)


async def test_a_drain_leaves_waiting_jobs_to_other_workers(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        worker = await world.start_worker(breaking=LONG, drain_seconds=1)
        await trip(world)
        (job,) = await submit_batch(world, 1)
        while not await world.batch_outstanding():
            await asyncio.sleep(0.01)
        await worker.stop()
        await world.main.heal()
        await world.forget_breakers()
        await world.start_worker()
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Completed)
        assert (len(attempts_of(events)), waits_of(events)) == (1, [])


async def test_routes_that_change_count_for_the_next_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A model that is gone ends its jobs; a queue that is new has its jobs run."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        await all_completed(world, [await world.submit(tokens=5, model="priced")])
        world.queues = ("default", "late")
        await world.make_consumers()
        world.write_routes(tmp_path / "routes.yaml", without="priced")
        job = await world.submit(tokens=5, model="late", queue="late")
        await all_completed(world, [job])
        end = terminal_of(await world.until_end(await world.submit(model="priced")))
        assert isinstance(end, Failed)
        assert end.reason == Reason.MODEL_NOT_FOUND
        await world.until_queue_empty()


async def test_a_new_queue_without_consumers_makes_no_worker_unready(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The gateways make them; until then the worker has all its other work to do."""
    async with WorkerWorld(nats_server, tmp_path) as world, world.process() as worker:
        world.write_routes(tmp_path / "routes.yaml", "late")
        while "routes taken over" not in worker.log.read_text(encoding="utf-8"):
            await asyncio.sleep(0.05)
        job = await world.submit(tokens=5, model="late", queue="late")
        await all_completed(world, [await world.submit(tokens=5)])
        assert (await worker.readiness())["ready"]
        world.queues = ("default", "late")
        await world.make_consumers()
        await all_completed(world, [job])
