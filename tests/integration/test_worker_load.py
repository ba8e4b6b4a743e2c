"""What a worker tells of its load, as those hear it who scale the workers, with their rights."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.msg import Msg

from tests.support.log_world import wait_until
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tests.support.worker_world import WorkerWorld, terminal_of
from tidegate.chassis.nats_client import NatsClient
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Failed
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.load import WorkerLoad, decode_load
from tidegate.contracts.subjects import LOAD_ALL, load_subject
from tidegate.providers.breaker import BreakerPolicy

TRIP = 3
LONG = BreakerPolicy(consecutive=TRIP, open=60.0, longest_open=60.0)


class Ear:
    """All that workers have told, in order."""

    def __init__(self) -> None:
        self.heard: list[WorkerLoad] = []

    def hear(self, message: Msg) -> None:
        load = decode_load(message.data)
        assert message.subject == load_subject(load.queue, load.worker)
        self.heard.append(load)

    async def until(
        self, queue: str, fits: Callable[[WorkerLoad], object] = lambda load: True, after: int = 0
    ) -> WorkerLoad:
        """The newest of a queue once it fits; `after` so many that were heard before."""

        def newest() -> WorkerLoad | None:
            told = (load for load in reversed(self.heard[after:]) if load.queue == queue)
            load = next(told, None)
            return load if load is not None and fits(load) else None

        await wait_until(newest)
        load = newest()
        assert load is not None
        return load

    async def next(self, queue: str) -> WorkerLoad:
        """What is told of a queue from now on."""
        return await self.until(queue, after=len(self.heard))


@asynccontextmanager
async def listening(nats: NatsServer, user: str | None = None) -> AsyncIterator[Ear]:
    """Hears as a service; None: as who may do all."""
    ear, client = Ear(), NatsClient()
    if user is None:
        await client.connect(nats.url)
    else:
        await client.connect(f"nats://{nats.address}", user=user, password=user)
    await client.listen(LOAD_ALL, ear.hear)
    await client.flush()
    try:
        yield ear
    finally:
        await client.close()


async def test_it_tells_what_it_runs_and_what_that_took(tmp_path: Path) -> None:
    async with (
        server_with_rights(tmp_path) as nats,
        WorkerWorld(nats, tmp_path, queues=("default", "other"), ttft_seconds=60) as world,
        listening(nats, "operator") as ear,
        world.process(**login(nats, "worker")) as worker,
    ):
        told = await ear.until("default")
        assert (told.slots, told.running, told.waiting, told.ended) == (8, 0, 0, 0)
        assert (told.blocked, told.draining) == (False, False)
        held = [await world.submit(model=model) for model in ("priced", "sim-1")]
        held.append(await world.submit(job_class=JobClass.BATCH))
        told = await ear.until("default", lambda load: load.running == 3)
        assert (told.ended, told.busy_seconds) == (0, 0)
        other = await ear.until("other")
        assert (other.worker, other.host) == (told.worker, told.host)
        assert (other.running, other.ended) == (0, 0)

        await world.fault(ttft=0.0)
        await world.until_end(await world.submit(model="priced", tokens=20))
        await world.until_end(await world.submit(model="sim-1", tokens=5))
        told = await ear.until("default", lambda load: load.ended == 2)
        assert (told.running, told.output_tokens) == (3, 25)
        assert (told.priced, told.nano_usd) == (1, 50_000)
        assert told.busy_seconds > 0
        for job in held:
            await world.record_cancel(job.id)
            assert isinstance(terminal_of(await world.until_end(job)), Cancelled)
        after = await ear.until("default", lambda load: load.running == 0)
        assert after.ended == 5
        # Three that were held since before the last was told.
        assert after.busy_seconds > told.busy_seconds
        assert (await ear.next("other")).ended == 0
        assert worker.complaints() == []


async def test_a_drain_is_told_at_once_and_what_is_handed_back_has_not_ended(
    tmp_path: Path,
) -> None:
    async with (
        server_with_rights(tmp_path) as nats,
        WorkerWorld(nats, tmp_path, ttft_seconds=60) as world,
        listening(nats, "operator") as ear,
        world.process(drain_seconds=2, **login(nats, "worker")) as worker,
    ):
        await world.submit()
        await world.calls_running(1)
        worker.signal(signal.SIGTERM)
        told = await ear.until("default", lambda load: load.draining)
        assert told.running == 1
        assert await worker.wait() == 0
        last = await ear.until("default", lambda load: load.running == 0)
        assert (last.draining, last.ended) == (True, 0)
        assert await world.waiting() == 1


async def test_a_queue_that_nobody_answers_is_blocked_and_what_it_refuses_takes_no_time(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """More workers would find the same; and a mean over jobs that never ran would be near zero."""
    async with (
        WorkerWorld(nats_server, tmp_path, queues=("default", "alone")) as world,
        listening(nats_server) as ear,
    ):
        await world.start_worker(breaking=LONG)
        assert not (await ear.until("alone")).blocked
        await world.fault(fail=400, calls=1)
        await world.until_end(await world.submit(queue="alone", model="alone"))
        # This one waits for its provider, and keeps its slot.
        await world.fault(fail=500)
        await world.submit(queue="alone", model="alone", job_class=JobClass.BATCH)
        told = await ear.until("alone", lambda load: load.waiting == 1)
        assert (told.running, told.blocked, told.ended) == (1, True, 1)
        end = terminal_of(await world.until_end(await world.submit(queue="alone", model="alone")))
        assert isinstance(end, Failed)
        assert end.reason == Reason.CIRCUIT_OPEN
        told = await ear.next("alone")
        assert (told.running, told.waiting, told.blocked, told.ended) == (1, 1, True, 1)
        # Of the first queue's models some are answered by the backup.
        assert not (await ear.next("default")).blocked


async def test_it_goes_on_after_an_outage(nats_server: NatsServer, tmp_path: Path) -> None:
    """What could not be told is in what is told next."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        async with listening(nats_server) as ear:
            before = await ear.until("default")
        await world.until_end(await world.submit())
        await nats_server.restart()
        async with listening(nats_server) as ear:
            after = await ear.until("default", lambda load: load.ended == 1)
        assert after.worker == before.worker
