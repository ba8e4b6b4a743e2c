"""Workers that die, freeze or are told to go: the caller gets the answer all the same, once."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.nats_server import NatsServer
from tests.support.services import ServiceProcess
from tests.support.tcp_proxy import TcpProxy
from tests.support.worker_world import (
    WorkerWorld,
    attempts_in,
    terminal_of,
    text_of_last_attempt,
)
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Cancelled, Completed
from tidegate.eventlog.head import read_head
from tidegate.eventlog.streams import StreamOptions, apply_streams
from tidegate.worker.delivery import Deliveries, Delivery


async def test_a_killed_workers_job_is_finished_by_another(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        world.process() as first,
    ):
        job = await world.submit(tokens=40)
        await world.until_deltas(job, 3)
        await first.kill()
        async with world.process():
            events = await world.until_end(job)
            assert isinstance(terminal_of(events), Completed)
            assert attempts_in(events) == 2
            assert text_of_last_attempt(events) == world.answer(40)
            await world.until_queue_empty()


async def test_a_frozen_worker_that_wakes_up_changes_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It still believes the job to be its own, and may neither write, nor acknowledge it away."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=10) as world,
        world.process() as zombie,
    ):
        job = await world.submit(tokens=50)
        await world.until_deltas(job, 3)
        zombie.signal(signal.SIGSTOP)
        # By a request of its own from before: it finds this, run out, when it wakes.
        await world.until_deliveries(2)
        async with world.process():
            while (await read_head(world.jetstream, job.tenant, job.id)).attempts < 2:
                await asyncio.sleep(0.05)
            zombie.signal(signal.SIGCONT)
            # Its call ends first: it has noticed, long before the second attempt is through.
            await world.calls_running(1)
            assert await world.waiting() == 1
            events = await world.until_end(job)
        assert isinstance(terminal_of(events), Completed)
        assert attempts_in(events) == 2
        assert text_of_last_attempt(events) == world.answer(50)
        # The zombie lives, and serves what comes next.
        await zombie.until_ready()
        assert isinstance(terminal_of(await world.until_end(await world.submit())), Completed)


async def test_a_nats_server_that_is_killed_in_mid_stream_costs_no_token(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world:
        await world.start_worker()
        jobs = [await world.submit(tokens=60) for _ in range(5)]
        await world.until_deltas(jobs[0], 3)
        await nats_server.restart()
        for job in jobs:
            events = await world.until_end(job)
            assert isinstance(terminal_of(events), Completed)
            assert text_of_last_attempt(events) == world.answer(60)
        await world.until_queue_empty()


async def test_a_cancel_during_an_outage_is_heard_after_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The nudge is lost; only the durable record tells, to whoever looks again."""
    async with (
        TcpProxy(nats_server.port) as proxy,
        WorkerWorld(nats_server, tmp_path, ttft_seconds=60) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        job = await world.submit()
        await world.calls_running(1)
        proxy.refusing = True
        proxy.cut()
        await world.record_cancel(job.id)
        assert (await world.stats())["running"] == 1
        proxy.refusing = False
        events = await world.until_end(job)
        assert isinstance(terminal_of(events), Cancelled)
        assert (await world.stats(idle_within="5"))["aborted"] == 1


async def test_a_frozen_nats_server_leaves_no_slot_behind(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Requests that a server never answered must not count as asked for ever."""
    async with (
        WorkerWorld(nats_server, tmp_path) as world,
        world.process(worker_concurrency=8) as worker,
    ):
        nats_server.freeze()
        await until_readiness(worker, ready=False)
        nats_server.thaw()
        await until_readiness(worker, ready=True)
        jobs = [await world.submit() for _ in range(20)]
        for job in jobs:
            assert isinstance(terminal_of(await world.until_end(job)), Completed)


def logged(worker: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in worker.log.read_text(encoding="utf-8").splitlines()]


async def until_readiness(worker: ServiceProcess, *, ready: bool) -> None:
    while (await worker.readiness())["ready"] is not ready:
        await asyncio.sleep(0.05)


async def test_a_drained_worker_finishes_what_it_can(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        world.process(drain_seconds=20) as worker,
    ):
        job = await world.submit(tokens=30)
        await world.until_deltas(job, 3)
        worker.signal(signal.SIGTERM)
        while "queues" not in (await worker.readiness())["failing"]:
            await asyncio.sleep(0.01)
        late = await world.submit(tokens=1)
        events = await world.until_end(job)
        assert attempts_in(events) == 1
        assert text_of_last_attempt(events) == world.answer(30)
        assert await worker.wait() == 0
        # Not taken by a worker that goes: the next one has it without delay.
        assert (await read_head(world.jetstream, late.tenant, late.id)).line is None
        await world.start_worker()
        assert isinstance(terminal_of(await world.until_end(late)), Completed)


async def test_a_drained_worker_hands_back_what_it_cannot_finish(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """At once: without it, the job would lie still until its message's time has run out."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=10) as world,
        world.process(drain_seconds=0.5) as worker,
    ):
        job = await world.submit(tokens=30)
        await world.until_deltas(job, 3)
        worker.signal(signal.SIGTERM)
        assert await worker.wait() == 0
        assert (await world.stats(idle_within="5"))["aborted"] == 1
        handed_back = [line for line in logged(worker) if line["event"] == "handed back"]
        assert [(line["job"], line["confirmed"]) for line in handed_back] == [(job.id, True)]
        await world.start_worker()
        events = await world.until_end(job)
        assert attempts_in(events) == 2
        assert text_of_last_attempt(events) == world.answer(30)
        await world.until_queue_empty()


@pytest.mark.parametrize("stream_too", [False, True])
async def test_consumers_that_are_removed_and_made_again(
    stream_too: bool, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Without them no job arrives: whoever watches must see it, and nobody restart the worker."""
    async with WorkerWorld(nats_server, tmp_path) as world, world.process() as worker:
        if stream_too:
            await world.jetstream.api("STREAM.DELETE.JOBS")
        else:
            await world.remove_consumers()
        while "queues" not in (await worker.readiness())["failing"]:
            await asyncio.sleep(0.05)
        await apply_streams(world.jetstream, StreamOptions())
        await world.make_consumers()
        await until_readiness(worker, ready=True)
        assert isinstance(terminal_of(await world.until_end(await world.submit())), Completed)
        await world.until_queue_empty()


async def test_an_end_that_nobody_takes_note_of_is_given_up(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A slot that waits for the acknowledgement of a consumer that is gone is lost for ever."""
    async with WorkerWorld(nats_server, tmp_path) as world:
        health, guard = Health(), TaskGuard()
        settings = NatsSettings(nats_url=nats_server.url)
        metrics = ChassisMetrics(CollectorRegistry())
        nats = NatsConnection(settings, health, guard, metrics, service="test")
        deliveries = Deliveries(nats, world.jetstream, ack_seconds=0.2)
        gone = Delivery("jobs.x", "$JS.ACK.JOBS.gone.1.1.1.0.0", b"", 0)
        assert not await deliveries.ack(lambda: gone)
