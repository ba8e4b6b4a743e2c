"""Interactive before batch, and batch never starved, on a worker with more work than slots."""

import asyncio
from pathlib import Path

from tests.support.nats_server import NatsServer
from tests.support.worker_world import WorkerWorld, terminal_of
from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import JobClass, QueuedJob

SLOTS = 8  # of which batch keeps one, and interactive asks for four at a time


async def order_of_ends(world: WorkerWorld, jobs: list[QueuedJob]) -> list[QueuedJob]:
    """The jobs in the order in which they ended."""
    ended: list[QueuedJob] = []

    async def follow(job: QueuedJob) -> None:
        assert isinstance(terminal_of(await world.until_end(job)), Completed)
        ended.append(job)

    await asyncio.gather(*map(follow, jobs))
    return ended


async def test_interactive_jobs_overtake_a_batch_that_still_moves(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        jobs = [await world.submit(tokens=10, job_class=JobClass.BATCH) for _ in range(30)]
        jobs += [await world.submit(tokens=10) for _ in range(30)]
        await world.start_worker(worker_concurrency=SLOTS)
        order = [job.job_class for job in await order_of_ends(world, jobs)]
        last = max(place for place, each in enumerate(order) if each is JobClass.INTERACTIVE)
        assert 2 <= order[:last].count(JobClass.BATCH) <= 15
        assert (await world.stats())["most_running"] == SLOTS


async def test_a_batch_alone_borrows_but_leaves_room(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """An interactive job that comes in its midst must find a slot waiting."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(worker_concurrency=SLOTS)
        jobs = [await world.submit(tokens=50, job_class=JobClass.BATCH) for _ in range(12)]
        await world.calls_running(SLOTS // 2)
        urgent = await world.submit(tokens=5)
        order = await order_of_ends(world, [*jobs, urgent])
        assert order[0] is urgent


async def test_interactive_jobs_alone_use_all_but_the_reserve(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A batch queue with nothing in it must not hold slots back."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker(worker_concurrency=SLOTS)
        jobs = [await world.submit(tokens=40) for _ in range(30)]
        await order_of_ends(world, jobs)
        assert (await world.stats())["most_running"] == SLOTS - 1


async def test_every_queue_of_the_routes_is_served(nats_server: NatsServer, tmp_path: Path) -> None:
    async with WorkerWorld(nats_server, tmp_path, queues=("default", "slow")) as world:
        await world.start_worker()
        jobs = [
            await world.submit(queue=queue, model=queue, job_class=job_class)
            for queue in ("default", "slow")
            for job_class in JobClass
        ]
        assert len(await order_of_ends(world, jobs)) == 4
        await world.until_queue_empty()


async def test_a_worker_waits_for_its_queues(nats_server: NatsServer, tmp_path: Path) -> None:
    """Started before the gateway has made them, it is not ready, and then goes to work."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.jetstream.api("CONSUMER.DELETE.JOBS.default-batch")
        worker = world.process()
        try:
            await worker.launch()
            while "default-batch is not there" not in worker.log.read_text(encoding="utf-8"):
                await asyncio.sleep(0.02)
            assert not (await worker.readiness())["ready"]
            await world.make_consumers()
            await worker.until_ready()
            job = await world.submit(job_class=JobClass.BATCH)
            assert isinstance(terminal_of(await world.until_end(job)), Completed)
        finally:
            await worker.kill()
