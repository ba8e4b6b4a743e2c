"""The reader, when network and server fail it: a pause, and then the rest without a seam."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.log_client import Client, slowly, write
from tests.support.log_world import (
    LogPeer,
    LogWorld,
    completed,
    running,
    wait_until,
)
from tests.support.nats_frames import MessageFilter
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.jetstream import NoAnswerError
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.subjects import log_subject
from tidegate.eventlog.appender import FencedError
from tidegate.eventlog.writer import LogWriter


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


class LostLive:
    """Loses live messages on their way to a reader while switched on."""

    def __init__(self) -> None:
        self.on = False
        self.frames = MessageFilter(lambda subject: self.on and subject.startswith("live."))

    def more_than(self, number: int) -> bool:
        return self.frames.lost > number


async def insist(peer: LogPeer, job: QueuedJob) -> LogWriter:
    """Starts an attempt; where that fails, or the one before still writes, does so again."""
    while True:
        with contextlib.suppress(NoAnswerError, FencedError):
            return await peer.start_attempt(job, worker="w2")


async def test_a_lost_live_message_is_fetched_when_the_next_one_comes(
    nats_server: NatsServer, world: LogWorld
) -> None:
    lost = LostLive()
    async with TcpProxy(
        nats_server.port, filters=lambda way: lost.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(peer.reader(), job)
        await client.has(1)
        for number in range(4):
            lost.on = True
            before = lost.frames.lost
            writer.emit(Delta(f"lost {number}"))
            await wait_until(partial(lost.more_than, before))
            lost.on = False
            writer.emit(Delta(f"heard {number}"))
            await client.has(3 + 2 * number)
        await writer.seal(completed())
        assert await client.task == await world.stored(job)
        assert peer.metrics.repairs.labels("gap")._value.get() == 4


async def test_a_lost_last_message_is_found_when_the_tail_is_idle(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """Without the check a client would wait for ever for an end that was already written."""
    lost = LostLive()
    async with TcpProxy(
        nats_server.port, filters=lambda way: lost.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        async with running(peer.reader(verify_after=0.2)) as reader:
            client = Client(reader, job)
            await client.has(1)
            lost.on = True
            write(writer, 5)
            await client.has(6)
            await writer.seal(completed())
            assert await client.task == await world.stored(job)
            assert lost.frames.lost >= 2


async def test_the_seal_lost_alone_is_found_too(nats_server: NatsServer, world: LogWorld) -> None:
    lost = LostLive()
    async with TcpProxy(
        nats_server.port, filters=lambda way: lost.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        async with running(peer.reader(verify_after=0.2)) as reader:
            client = Client(reader, job)
            await slowly(writer, 5)
            await client.has(6)
            lost.on = True
            await writer.seal(completed())
            assert await client.task == await world.stored(job)


async def test_a_reader_that_was_cut_off_catches_up(
    nats_server: NatsServer, world: LogWorld
) -> None:
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(peer.reader(), job)
        for number in range(3):
            await slowly(writer, 10, prefix=f"{number}-")
            proxy.refusing = True
            proxy.cut()
            await slowly(writer, 10, prefix=f"{number}+")
            proxy.refusing = False
            await client.has(1 + 20 * (number + 1))
        await writer.seal(completed())
        assert await client.task == await world.stored(job)


async def test_what_is_sealed_during_the_outage_is_delivered_after_it(
    nats_server: NatsServer, world: LogWorld
) -> None:
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(peer.reader(), job)
        await slowly(writer, 10)
        await client.has(5)
        proxy.refusing = True
        proxy.cut()
        await slowly(writer, 10, prefix="b")
        await writer.seal(completed())
        proxy.refusing = False
        assert await client.task == await world.stored(job)


async def test_answers_that_vanish_before_the_cut_are_fetched_after_it(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """A half-open connection: the server believes that it has delivered."""
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.3)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(peer.reader(), job)
        await client.has(1)
        proxy.swallow(Way.DOWN)
        await slowly(writer, 20)
        await writer.seal(completed())
        proxy.cut()
        assert await client.task == await world.stored(job)


async def test_live_messages_that_come_late_change_nothing(
    nats_server: NatsServer, world: LogWorld
) -> None:
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=2.0)
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        client = Client(peer.reader(), job)
        await client.has(1)
        proxy.delay(Way.DOWN, 0.02)
        await slowly(writer, 40)
        await writer.seal(completed())
        assert await client.task == await world.stored(job)


async def test_a_server_killed_in_mid_log_is_outlived(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """kill -9 of the only server: clients see a pause and then the rest, without a seam."""
    peer = await world.peer()
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    client = Client(peer.reader(), job)
    for number in range(2):
        await slowly(writer, 20, prefix=f"{number}-")
        await nats_server.kill()
        write(writer, 20, prefix=f"{number}+")
        await nats_server.start()
        await client.has(1 + 40 * (number + 1))
    await writer.seal(completed())
    assert await client.task == await world.stored(job)


async def test_an_outage_makes_no_subscription_twice(nats_server: NatsServer) -> None:
    """Each would deliver every live message again, for the rest of the process."""
    async with LogWorld(nats_server.url) as world, TcpProxy(nats_server.port) as proxy:
        job = await world.queue_job()
        writer = await world.start_attempt(job)
        peer: LogPeer = await world.peer(port=proxy.port, timeout=0.1)
        reader = peer.reader()
        before = len(peer.client._subs)
        proxy.hold(Way.UP)
        with pytest.raises(Unavailable):
            await reader.follow(job.tenant, job.id, lambda: None)
        assert len(peer.client._subs) == before
        proxy.release(Way.UP)
        client = Client(reader, job)
        await writer.seal(completed())
        assert await client.task == await world.stored(job)
        assert len(peer.client._subs) == before + 1


async def test_a_live_message_of_a_log_that_is_gone_does_not_keep_a_reader_busy(
    world: LogWorld,
) -> None:
    """A late copy of what has expired: there is nothing to replay, and nothing to wait for."""
    job = await world.queue_job()
    peer = await world.peer()
    client = Client(peer.reader(), job)
    await wait_until(lambda: peer.metrics.repairs.labels("first")._value.get() > 0)
    stale = await world.start_attempt(job)
    await client.has(1)
    subject = log_subject(job.tenant, job.id)
    await world.jetstream.api("STREAM.PURGE.EVENTS", {"filter": subject})
    headers = {"Nats-Sequence": "900", "Nats-Last-Sequence": "899"}
    await world.client.publish(subject.replace("events", "live", 1), b"{}", headers=headers)
    await wait_until(lambda: peer.metrics.repairs.labels("gap")._value.get() > 0)
    reader_tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("repair-")]
    await asyncio.gather(*reader_tasks)
    await stale.abandon()
    client.task.cancel()


async def test_many_jobs_are_exact_through_cuts_and_new_attempts(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """Readers are cut off while attempts die and others take over."""
    async with TcpProxy(nats_server.port) as proxy:
        jobs = [await world.queue_job() for _ in range(30)]
        reading = await world.peer(port=proxy.port, timeout=0.5)
        reader = reading.reader()
        writing = await world.peer(port=proxy.port, timeout=0.5)

        def back(times: int) -> bool:
            return min(reading.reconnects, writing.reconnects) >= times

        async def run(number: int, job: QueuedJob) -> None:
            first = await world.start_attempt(job, worker="w1")
            await slowly(first, 15, prefix=f"{number}-")
            second = await insist(writing, job)
            await slowly(second, 15, prefix=f"{number}+")
            await second.seal(completed())
            await first.abandon()

        async with running(reader):
            clients = [Client(reader, job) for job in jobs]
            work = [asyncio.create_task(run(number, job)) for number, job in enumerate(jobs)]
            for cuts in range(1, 6):
                await asyncio.sleep(0.05)
                proxy.cut()
                await wait_until(partial(back, cuts))
            await asyncio.gather(*work)
            for job, client in zip(jobs, clients, strict=True):
                assert await client.task == await world.stored(job)
