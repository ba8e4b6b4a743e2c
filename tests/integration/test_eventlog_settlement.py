"""Settlement: whatever happens to acknowledgements, every event is stored exactly once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import pytest

from tests.support.log_world import (
    LogPeer,
    LogWorld,
    completed,
    text_of,
    wait_until,
    words,
)
from tests.support.nats_frames import MessageFilter
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.jetstream import NoAnswerError
from tidegate.contracts.events import AttemptStarted, Delta
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.appender import FencedError, UnsettledError
from tidegate.eventlog.head import read_head
from tidegate.eventlog.writer import LogLimits, LogWriter


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    async with LogWorld(nats_server.url) as made:
        yield made


class LossyAcks:
    """Loses the next acknowledgements on their way to the client: publishes are stored."""

    def __init__(self) -> None:
        self.to_lose = 0
        self.frames = MessageFilter(self._lose)

    def _lose(self, subject: str) -> bool:
        if self.to_lose and subject.startswith("_INBOX."):
            self.to_lose -= 1
            return True
        return False


def has_reconnected(peer: LogPeer, times: int) -> bool:
    return peer.reconnects >= times


async def begin(world: LogWorld, peer: LogPeer | None = None) -> tuple[QueuedJob, LogWriter]:
    job = await world.queue_job()
    return job, await (peer or world).start_attempt(job)


async def write_all(writer: LogWriter, count: int, *, prefix: str = "") -> str:
    """Emits deltas over several appends; returns their text."""
    deltas = words(count, prefix=prefix)
    for delta in deltas:
        writer.emit(delta)
        await asyncio.sleep(0)
    return "".join(delta.data for delta in deltas if isinstance(delta, Delta))


@pytest.mark.parametrize("lost", [1, 2])
async def test_an_append_whose_ack_is_lost_is_stored_exactly_once(
    nats_server: NatsServer, world: LogWorld, lost: int
) -> None:
    """Written twice, a token is doubled in the answer; given up, it is missing."""
    acks = LossyAcks()
    async with TcpProxy(
        nats_server.port, filters=lambda way: acks.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.2)
        job, writer = await begin(world, peer)
        text = await write_all(writer, 5, prefix="a")
        acks.to_lose = lost
        text += await write_all(writer, 20, prefix="b")
        await wait_until(lambda: acks.frames.lost == lost)
        text += await write_all(writer, 5, prefix="c")
        await writer.seal(completed())
        events = await world.stored(job)
        assert text_of(events) == text
        assert [sequence for sequence, _ in events] == list(range(1, 33))


async def test_a_seal_whose_ack_is_lost_is_stored_exactly_once(
    nats_server: NatsServer, world: LogWorld
) -> None:
    acks = LossyAcks()
    async with TcpProxy(
        nats_server.port, filters=lambda way: acks.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.2)
        job, writer = await begin(world, peer)
        acks.to_lose = 2
        await writer.seal(completed())
        assert acks.frames.lost == 2
        assert len(await world.stored(job)) == 2


async def test_the_start_of_an_attempt_survives_a_lost_ack(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """Taken for another's, it would strand the job until its redelivery."""
    acks = LossyAcks()
    async with TcpProxy(
        nats_server.port, filters=lambda way: acks.frames if way is Way.DOWN else None
    ) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.2)
        job = await world.queue_job()
        writer = peer.writer(job, await read_head(peer.jetstream, job.tenant, job.id))
        acks.to_lose = 1
        await writer.start_attempt(AttemptStarted(1, "w"))
        await writer.seal(completed())
        assert len(await world.stored(job)) == 2


async def test_an_append_that_arrives_after_the_new_owners_is_refused(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """It was on its way in the network while its job was given to another worker."""
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.2)
        job, zombie = await begin(world, peer)
        proxy.hold(Way.UP)
        zombie.emit(Delta("late"))
        await wait_until(lambda: peer.metrics.retries._value.get() > 0)
        owner = await world.start_attempt(job, worker="w2")
        proxy.release(Way.UP)
        with pytest.raises(FencedError):
            await zombie.lost
        await owner.seal(completed())
        assert text_of(await world.stored(job)) == ""
        await zombie.abandon()


async def test_an_append_held_up_in_the_network_is_stored_once(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """All its repeats arrive together, after the first had been given up for lost."""
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.1)
        job, writer = await begin(world, peer)
        proxy.hold(Way.UP)
        writer.emit(Delta("once"))
        await wait_until(lambda: peer.metrics.retries._value.get() >= 3)
        writer.emit(Delta(" more"))
        proxy.release(Way.UP)
        await writer.seal(completed())
        assert text_of(await world.stored(job)) == "once more"


async def test_a_connection_that_breaks_again_and_again_costs_no_event(
    nats_server: NatsServer, world: LogWorld
) -> None:
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.3)
        job, writer = await begin(world, peer)
        text = ""
        for number in range(5):
            text += await write_all(writer, 20, prefix=f"{number}-")
            proxy.cut()
            text += await write_all(writer, 20, prefix=f"{number}+")
            await wait_until(partial(has_reconnected, peer, number + 1))
        await writer.seal(completed())
        events = await world.stored(job)
        assert text_of(events) == text
        assert [sequence for sequence, _ in events] == list(range(1, 203))


async def test_a_server_killed_in_mid_log_loses_nothing_that_was_acknowledged(
    nats_server: NatsServer, world: LogWorld
) -> None:
    job, writer = await begin(world)
    text = await write_all(writer, 30, prefix="a")
    await nats_server.kill()
    text += await write_all(writer, 30, prefix="b")
    await nats_server.start()
    text += await write_all(writer, 30, prefix="c")
    await writer.seal(completed())
    assert text_of(await world.stored(job)) == text


async def test_a_writer_that_cannot_settle_says_so(nats_server: NatsServer) -> None:
    """Else a worker holds the job and its slot for ever."""
    async with LogWorld(nats_server.url) as world:
        job = await world.queue_job()
        writer = LogWriter(
            world.jetstream,
            job,
            0,
            await read_head(world.jetstream, job.tenant, job.id),
            limits=LogLimits(1000, 60),
            metrics=world.metrics,
            clock=iter([0.0, *[1e9] * 50]).__next__,
        )
        await nats_server.kill()
        with pytest.raises(UnsettledError):
            await writer.start_attempt(AttemptStarted(1, "w"))
        with pytest.raises(UnsettledError):
            writer.emit(Delta("x"))
        await writer.abandon()


async def test_a_request_that_gets_no_answer_leaves_nothing_behind(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """Over an outage of hours a process would fill up with forgotten requests."""
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port, timeout=0.05)
        proxy.hold(Way.UP)
        for _ in range(3):
            with pytest.raises(NoAnswerError):
                await peer.jetstream.last("EVENTS", "events.1.a.b")
        with pytest.raises(NoAnswerError):
            await peer.jetstream.direct_batch("EVENTS", "events.1.a.b", 1)
        cancelled = asyncio.create_task(peer.jetstream.last("EVENTS", "events.1.a.b"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert peer.jetstream._waiting == {}


async def test_who_repeats_at_once_does_not_keep_the_process_from_reconnecting(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """One careless loop would make an outage of a moment last for ever."""
    job = await world.queue_job()
    async with TcpProxy(nats_server.port) as proxy:
        peer = await world.peer(port=proxy.port)
        proxy.cut()
        await wait_until(lambda: not peer.client.is_connected)
        stored = None
        while stored is None:
            with contextlib.suppress(NoAnswerError):
                stored = await peer.jetstream.last("JOBS", job.subject)
        await wait_until(lambda: peer.reconnects == 1)


async def test_after_a_restart_the_fence_still_holds(
    nats_server: NatsServer, world: LogWorld
) -> None:
    """A server that came back with an empty memory would let a zombie in."""
    job, zombie = await begin(world)
    owner = await (await world.peer()).start_attempt(job)
    owner.emit(Delta("kept"))
    await owner.seal(completed())
    await nats_server.restart()
    await wait_until(lambda: world.client.is_connected)
    zombie.emit(Delta("late"))
    with pytest.raises(FencedError):
        await zombie.lost
    assert text_of(await world.stored(job)) == "kept"
    await zombie.abandon()
