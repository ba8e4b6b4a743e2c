"""Whose a job is: nobody pays a model twice, or speaks about a job that is another's."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tests.support.worker_world import (
    WorkerWorld,
    attempts_in,
    terminal_of,
    text_of_last_attempt,
)
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Completed, Delta, Expired, Failed
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.subjects import nudge_subject
from tidegate.eventlog.head import read_head


class Watch:
    """Sees all that a worker sends, on every connection; calls `on_data` before it goes on."""

    def __init__(self, on_data: Callable[[bytes], None] = lambda _: None) -> None:
        self.connections: list[bytearray] = []
        self.on_data = on_data

    @property
    def sent(self) -> bytes:
        """All of it."""
        return b"".join(self.connections)

    def filter(self, way: Way) -> "_Seen | None":
        if way is Way.DOWN:
            return None
        self.connections.append(bytearray())
        return _Seen(self, self.connections[-1])


class _Seen:
    def __init__(self, watch: Watch, sent: bytearray) -> None:
        self._watch = watch
        self._sent = sent

    def feed(self, data: bytes) -> bytes:
        self._sent += data
        self._watch.on_data(data)
        return data


def hold_answer_to(proxy: TcpProxy, watch: Watch, request: bytes) -> asyncio.Event:
    """Holds what the server answers from the next request with these bytes on."""
    seen = asyncio.Event()

    def look(data: bytes) -> None:
        if request in data and not seen.is_set():
            proxy.hold(Way.DOWN)
            seen.set()

    watch.on_data = look
    return seen


async def seal(world: WorkerWorld, job: QueuedJob) -> None:
    """What the reaper does."""
    writer = world.writer(job, await read_head(world.jetstream, job.tenant, job.id))
    await writer.load()
    await writer.seal(Failed(Reason.DEADLINE_EXCEEDED, "x"))
    await writer.abandon()


async def test_a_running_job_that_comes_again_goes_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A second attempt in the process that has the first would only pay the model twice."""
    watch = Watch()
    async with (
        TcpProxy(nats_server.port, filters=watch.filter) as proxy,
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        job = await world.submit(tokens=40)
        await world.until_deltas(job, 2)
        await world.deliver_again()
        await world.until_deliveries(2)
        events = await world.until_end(job)
        assert attempts_in(events) == 1
        assert isinstance(terminal_of(events), Completed)
        assert text_of_last_attempt(events) == world.answer(40)
        assert (await world.stats())["started"] == 1
        await world.until_queue_empty()
        # It is the second delivery that is acknowledged.
        acks = re.findall(rb"\.default-interactive\.(\d+)\.\S+ [^\r]+\r\n\+ACK", watch.sent)
        assert acks == [b"2"]


async def test_a_job_that_comes_back_after_another_began_it_is_begun_anew(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Going on without the log, the process would keep the job from everybody."""
    async with WorkerWorld(nats_server, tmp_path, ttft_seconds=1) as world:
        await world.start_worker()
        job = await world.submit(tokens=5)
        await world.calls_running(1)
        await (await world.start_attempt(job)).abandon()
        await world.deliver_again()
        events = await world.until_end(job)
        assert attempts_in(events) == 3
        assert isinstance(terminal_of(events), Completed)
        await world.until_queue_empty()


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("told_by", ["nudge", "reconnect"])
async def test_a_log_that_was_lost_closes_the_call_at_once(
    sealed: bool, told_by: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Not at its first token: until then, the provider would work for nobody."""
    async with (
        TcpProxy(nats_server.port) as proxy,
        WorkerWorld(nats_server, tmp_path, ttft_seconds=60) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        job = await world.submit()
        await world.calls_running(1)
        if sealed:
            await seal(world, job)
        else:
            await (await world.start_attempt(job)).abandon()
        if told_by == "nudge":
            await world.client.publish(nudge_subject(job.tenant, job.id))
        else:
            proxy.cut()
        await world.calls_running(0)
        assert await world.waiting() == 1
        assert not await world.is_offered()


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_drain_says_nothing_about_a_job_that_is_anothers(
    sealed: bool, nats_server: NatsServer, tmp_path: Path
) -> None:
    """Handed back by a stranger, it would be taken from the worker that runs it."""
    async with WorkerWorld(nats_server, tmp_path, ttft_seconds=60) as world:
        worker = await world.start_worker(drain_seconds=2)
        job = await world.submit()
        await world.calls_running(1)
        if sealed:
            await seal(world, job)
        else:
            await (await world.start_attempt(job)).abandon()
        await worker.stop()
        assert await world.waiting() == 1
        assert not await world.is_offered()


async def test_a_drain_costs_the_job_none_of_its_attempts(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Else a few deployments in a row would fail every long job."""
    async with WorkerWorld(nats_server, tmp_path, ttft_seconds=1) as world:
        job = await world.submit(tokens=5)
        for attempt in (1, 2, 3):
            worker = await world.start_worker(max_attempts=1, drain_seconds=0.8)
            if attempt < 3:
                await world.calls_running(1)
                await worker.stop()
        events = await world.until_end(job)
        assert attempts_in(events) == 3
        assert isinstance(terminal_of(events), Completed)
        assert text_of_last_attempt(events) == world.answer(5)


async def test_a_stop_that_is_known_before_the_call_is_not_paid_for(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The deadline passes while the attempt's first event is being stored."""
    watch = Watch()
    async with (
        TcpProxy(nats_server.port, filters=watch.filter) as proxy,
        WorkerWorld(nats_server, tmp_path) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        # With its connection open, a call is on its way as soon as it is made.
        await world.until_end(await world.submit())
        held = hold_answer_to(proxy, watch, b'"attempt_started"')
        job = await world.submit(ttl_seconds=0.5)
        over = time.time() + 0.5
        await held.wait()
        while time.time() <= over:
            await asyncio.sleep(0.01)
        proxy.release(Way.DOWN)
        events = await world.until_end(job)
        assert attempts_in(events) == 1
        assert isinstance(terminal_of(events), Expired)
        assert (await world.stats())["started"] == 1


async def test_a_stop_in_the_middle_of_a_retry_lets_its_start_be_settled(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Cut short, the end would be refused: nobody knew which message it has to follow."""
    watch = Watch()
    async with (
        TcpProxy(nats_server.port, filters=watch.filter) as proxy,
        WorkerWorld(nats_server, tmp_path) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        await world.until_end(await world.submit())
        await world.fault(fail=500, calls=1)
        held = hold_answer_to(proxy, watch, b'"attempt_started","attempt":2')
        job = await world.submit(ttl_seconds=3)
        over = time.time() + 3
        await held.wait()
        while time.time() <= over:
            await asyncio.sleep(0.01)
        proxy.release(Way.DOWN)
        events = await world.until_end(job)
        assert attempts_in(events) == 2
        assert isinstance(terminal_of(events), Expired)
        assert (await world.stats())["started"] == 2
        await world.until_queue_empty()
        # The first one's, and this one's: it did not have to come again to be ended.
        assert await world.deliveries() == 2


async def test_a_log_that_was_lost_ends_a_wait_without_a_word(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, world.process() as worker:
        await world.fault(fail=429, retry_after=300)
        job = await world.submit(job_class=JobClass.BATCH)
        await world.until_waiting(job)
        assert "tidegate_worker_waiting_jobs 1.0" in await worker.metrics()
        other = await world.start_attempt(job)
        await world.client.publish(nudge_subject(job.tenant, job.id))
        while "tidegate_worker_waiting_jobs 0.0" not in await worker.metrics():
            await asyncio.sleep(0.01)
        assert 'outcome="lost"' in await worker.metrics()
        await other.abandon()
        assert await world.waiting() == 1
        assert (await world.head(job)).attempts == 2


async def test_a_late_append_of_the_attempt_before_costs_no_redelivery(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The caller would wait until the job is delivered again, though it is in good hands."""
    watch = Watch()
    async with (
        TcpProxy(nats_server.port, filters=watch.filter) as proxy,
        WorkerWorld(nats_server, tmp_path) as world,
    ):
        job = await world.submit()
        before = await world.start_attempt(job)
        held = hold_answer_to(proxy, watch, b"$JS.API.STREAM.MSG.GET.EVENTS")
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        await held.wait()
        # Round trips: the worker's look has been answered by when the late append comes.
        for _ in range(3):
            await read_head(world.jetstream, job.tenant, job.id)
        before.emit(Delta("late"))
        while (await read_head(world.jetstream, job.tenant, job.id)).last_sequence < 2:
            await asyncio.sleep(0.01)
        proxy.release(Way.DOWN)
        events = await world.until_end(job)
        await before.abandon()
        assert isinstance(terminal_of(events), Completed)
        assert attempts_in(events) == 2
        assert await world.deliveries() == 1


async def test_after_a_reconnect_jobs_are_kept_before_they_are_verified(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Verifying hundreds takes a while, and their time may be about to run out."""
    watch = Watch()
    async with (
        TcpProxy(nats_server.port, filters=watch.filter) as proxy,
        WorkerWorld(nats_server, tmp_path, ttft_seconds=60) as world,
    ):
        await world.start_worker(nats_url=f"nats://127.0.0.1:{proxy.port}")
        for _ in range(5):
            await world.submit()
        await world.calls_running(5)
        proxy.cut()
        verifying = b"$JS.API.STREAM.MSG.GET.CONTROL"
        while len(watch.connections) < 2 or watch.connections[-1].count(verifying) < 5:
            await asyncio.sleep(0.01)
        sent = bytes(watch.connections[-1])
        assert sent[: sent.index(verifying)].count(b"+WPI") == 5
