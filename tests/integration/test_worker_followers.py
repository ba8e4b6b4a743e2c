"""Followers, and leaders that the test plays: nobody waits for an answer that will not come."""

import asyncio
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.flights import (
    BRIEF,
    KEY,
    PATIENT,
    PlayedLeader,
    end_lease,
    lease_of,
    put_lease,
    sources,
    tiers,
    until_following,
    until_said,
)
from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache, miss
from tests.support.worker_world import (
    WorkerWorld,
    terminal_of,
    text_of_last_attempt,
    waits_of,
)
from tidegate.contracts.endings import expired
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import (
    AttemptStarted,
    Completed,
    Delta,
    Failed,
    Timings,
    Usage,
    Waiting,
)
from tidegate.contracts.jobs import JobClass, new_job_id
from tidegate.contracts.subjects import EVENTS_STREAM, log_subject
from tidegate.eventlog.census import Census
from tidegate.eventlog.lookup import FoundJob
from tidegate.eventlog.orphan import bury
from tidegate.eventlog.writer import LogLimits

WHOLE: Final = Completed(
    ["stop"], Usage(5, 0, 2), Timings(1, 2, 3), cost_nano_usd=9, saved_nano_usd=0
)


async def test_a_follower_ends_as_its_leader_does(nats_server: NatsServer, tmp_path: Path) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("high "))
        job = await world.submit(tokens=None)
        await world.until_deltas(job, 1)
        leader.writer.emit(Delta("let me think", "reasoning"))
        leader.writer.emit(Delta("tide"))
        await leader.writer.seal(WHOLE)
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Completed)
        assert text_of_last_attempt(events) == "high tide"
        assert sum(b'"reasoning"' in raw for _, raw in events) == 1
        assert (end.finish_reasons, end.usage) == (["stop"], Usage())
        assert (end.cost_nano_usd, end.saved_nano_usd) == (0, 9)
        assert (await world.stats())["started"] == 0
        assert cache.stores == []


async def test_a_leader_that_had_it_from_the_cache_saved_its_followers_as_much(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("low tide"))
        hit = Completed(["stop"], Usage(), Timings(1, 2, 3), cost_nano_usd=0, saved_nano_usd=7)
        await leader.writer.seal(hit)
        end = terminal_of(await world.until_end(await world.submit(tokens=None)))
        assert isinstance(end, Completed)
        assert end.saved_nano_usd == 7


async def test_whoever_is_followed_has_a_reader(nats_server: NatsServer, tmp_path: Path) -> None:
    """Else a leader whose own caller has gone would be cancelled under those who follow it."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        census, left = Census(_Publisher(world)), asyncio.Event()  # type: ignore[arg-type]
        await census.open(lambda _tenant, job_id: left.set() if job_id == leader.job.id else None)
        job = await world.submit(tokens=None)
        await until_following(world, job)
        tenant, leader_id = leader.job.tenant, leader.job.id
        while await census.ask(tenant, leader_id, within_ms=0) != 0:
            pass
        await world.record_cancel(job.id)
        await world.until_end(job)
        # It was the last: now whoever cares for unread jobs is told.
        await left.wait()
        await leader.writer.abandon()


class _Publisher:
    """What a census needs of the connection."""

    def __init__(self, world: WorkerWorld) -> None:
        self.client = world.client

    async def publish(self, subject: str, payload: bytes) -> None:
        await self.client.publish(subject, payload)


async def test_what_no_repeat_could_change_is_not_repeated(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        await leader.writer.seal(Failed(Reason.CONTENT_FILTERED, "it says so"))
        end = terminal_of(await world.until_end(await world.submit(tokens=None)))
        assert isinstance(end, Failed)
        assert (end.reason, end.message) == (Reason.CONTENT_FILTERED, "it says so")
        assert (await world.stats())["started"] == 0


@pytest.mark.parametrize("end", [Failed(Reason.ATTEMPTS_EXHAUSTED, "x", retriable=True), expired()])
async def test_an_end_that_is_the_leaders_own_is_not_its_followers(
    end: Failed, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("half an "))
        job = await world.submit(tokens=None)
        await world.until_deltas(job, 1)
        await leader.writer.seal(end)
        events = await world.until_end(job)
        assert tiers(events) == ["coalesced", "miss"]
        assert text_of_last_attempt(events) == world.answer(None)
        # It leads now, by the lease that was left behind.
        kept = await lease_of(world)
        assert kept is not None
        assert job.id.encode() in kept.payload


async def test_a_leader_that_was_handed_back_is_succeeded_at_once(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """By one of its followers: it may lie in the queue for a while."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("half an "))
        jobs = [await world.submit(tokens=None) for _ in range(3)]
        for job in jobs:
            await world.until_deltas(job, 1)
        await leader.writer.hand_back()
        logs = await asyncio.gather(*map(world.until_end, jobs))
        assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
        assert (await world.stats())["started"] == 1


async def test_a_leader_that_goes_on_elsewhere_is_followed_there(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It was handed back and taken up again before its followers looked: one call is enough."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("half an "))
        job = await world.submit(tokens=None)
        await world.until_deltas(job, 1)
        await put_lease(world, leader.job.id, owner="its next attempt")
        await leader.writer.hand_back()
        again = await world.start_attempt(leader.job, worker="w2")
        again.emit(Delta("all of it"))
        await again.seal(WHOLE)
        events = await world.until_end(job)
        assert tiers(events) == ["coalesced", "coalesced"]
        assert text_of_last_attempt(events) == "all of it"
        assert (await world.stats())["started"] == 0


async def test_a_leaders_short_wait_is_waited_for(nats_server: NatsServer, tmp_path: Path) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        job = await world.submit(tokens=None)
        await until_following(world, job)
        waiting = Waiting(Reason.CIRCUIT_OPEN, int(time.time() * 1000) + 5_000)
        leader.writer.emit(waiting)
        await world.until_waiting(job)
        leader.writer.emit(Delta("there"))
        await leader.writer.seal(WHOLE)
        events = await world.until_end(job)
        assert waits_of(events) == [waiting]
        assert text_of_last_attempt(events) == "there"


async def test_an_interactive_job_does_not_wait_beyond_its_own_patience(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The leader may; whoever waits at a screen is answered, or told, in seconds."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        jobs = {
            job_class: await world.submit(tokens=None, job_class=job_class)
            for job_class in JobClass
        }
        for job in jobs.values():
            await until_following(world, job)
        leader.writer.emit(Waiting(Reason.CIRCUIT_OPEN, int(time.time() * 1000) + 60_000))
        events = await world.until_end(jobs[JobClass.INTERACTIVE])
        assert tiers(events) == ["coalesced", "miss"]
        assert waits_of(events) == []
        # The batch job has the time.
        await world.until_waiting(jobs[JobClass.BATCH])
        leader.writer.emit(Delta("there"))
        await leader.writer.seal(WHOLE)
        assert tiers(await world.until_end(jobs[JobClass.BATCH])) == ["coalesced"]
        assert (await world.stats())["started"] == 1


async def test_a_silent_leader_is_followed_while_its_lease_is_kept_up(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A model may think for minutes; a leader that is no more leaves a lease that runs out."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=BRIEF)
        leader = await PlayedLeader.begin(world, cache)
        job = await world.submit(tokens=None)
        await until_following(world, job)
        sequence = (await world.head(job)).stream_sequence
        await asyncio.sleep(5 * BRIEF.look)
        assert (await world.head(job)).stream_sequence == sequence
        await end_lease(world)
        events = await world.until_end(job)
        assert tiers(events) == ["coalesced", "miss"]
        assert text_of_last_attempt(events) == world.answer(None)
        await leader.writer.abandon()


async def test_a_leader_that_speaks_is_followed_whatever_became_of_its_lease(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=BRIEF)
        leader = await PlayedLeader.begin(world, cache)
        job = await world.submit(tokens=None)
        await until_following(world, job)
        await end_lease(world)
        for _ in range(20):
            leader.writer.emit(Delta("on "))
            await asyncio.sleep(BRIEF.look / 4)
        await leader.writer.seal(WHOLE)
        assert tiers(await world.until_end(job)) == ["coalesced"]
        assert (await world.stats())["started"] == 0


async def test_an_end_that_was_not_heard_is_looked_for_before_anybody_calls(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Live copies can be lost; and its lease is gone by then, as it should be."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=BRIEF)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("heard"))
        job = await world.submit(tokens=None)
        await world.until_deltas(job, 1)
        config = (await world.jetstream.api(f"STREAM.INFO.{EVENTS_STREAM}"))["config"]
        deaf = {name: value for name, value in config.items() if name != "republish"}
        await world.jetstream.api(f"STREAM.UPDATE.{EVENTS_STREAM}", deaf)
        leader.writer.emit(Delta("unheard"))
        await leader.writer.seal(WHOLE)
        await end_lease(world)
        while not (await world.head(job)).sealed:
            await asyncio.sleep(0.05)
        assert (await world.stats())["started"] == 0


async def test_who_follows_goes_over_to_whoever_leads_now(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=BRIEF)
        first = await PlayedLeader.begin(world, cache)
        first.writer.emit(Delta("half an "))
        job = await world.submit(tokens=None)
        await world.until_deltas(job, 1)
        second = await PlayedLeader.begin(world, cache)
        second.writer.emit(Delta("all of it"))
        await until_said(world, job, second.job.id)
        await second.writer.seal(WHOLE)
        events = await world.until_end(job)
        assert text_of_last_attempt(events) == "all of it"
        assert sources(events) == [first.job.id, second.job.id]
        await first.writer.abandon()


@pytest.mark.parametrize("stored", [None, b"not a log", b'{"v":99}'])
async def test_a_log_that_cannot_be_followed_is_no_reason_to_wait(
    stored: bytes | None, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        cache.say(miss(KEY))
        leader = new_job_id()
        if stored is not None:
            await world.jetstream.publish(log_subject("acme", leader), stored, {})
        await put_lease(world, leader)
        events = await world.until_end(await world.submit(tokens=None))
        assert tiers(events) == ["coalesced", "miss"]
        assert text_of_last_attempt(events) == world.answer(None)


async def test_a_leader_whose_log_is_deleted_is_succeeded(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        await leader.writer.seal(WHOLE)
        found = FoundJob("acme", leader.job.summary(0), await world.head(leader.job))
        limits = LogLimits.for_server(1_000_000, 60)
        await bury(world.jetstream, found, limits=limits, metrics=world.metrics, clock=time.time)
        events = await world.until_end(await world.submit(tokens=None))
        assert tiers(events) == ["coalesced", "miss"]


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"job":"j","owner":"o","v":9}'])
async def test_a_lease_that_cannot_be_read_keeps_nobody_from_calling(
    payload: bytes, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A newer release wrote it: what it means is not known, and jobs go on as without flights."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        cache.say(miss(KEY))
        await world.jetstream.publish(f"flights.acme.{KEY}", payload, {})
        events = await world.until_end(await world.submit(tokens=None))
        assert tiers(events) == ["miss"]
        await cache.until_stored()


async def test_a_jobs_own_lease_of_an_attempt_before_is_taken_over(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its worker was killed a moment ago: it must not follow itself."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.say(miss(KEY))
        job = await world.submit(tokens=None)
        await (await world.start_attempt(job)).abandon()
        await put_lease(world, job.id)
        await world.start_worker(**cache.settings, flying=PATIENT)
        events = await world.until_end(job)
        assert tiers(events) == [None, "miss"]
        await cache.until_stored()


async def test_a_leaders_attempt_that_was_over_before_is_not_heard_again(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A newcomer is spared the text that counts no more."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await PlayedLeader.begin(world, cache)
        leader.writer.emit(Delta("wrong"))
        await leader.writer.start_attempt(AttemptStarted(2, "w2", "p", "m"))
        leader.writer.emit(Delta("right"))
        await leader.writer.seal(WHOLE)
        events = await world.until_end(await world.submit(tokens=None))
        assert tiers(events) == ["coalesced"]
        assert text_of_last_attempt(events) == "right"
        assert not any(b"wrong" in raw for _, raw in events)
