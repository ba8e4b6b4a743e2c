"""Leaders that die or freeze in mid-answer: one of their followers calls, and all are told."""

import asyncio
import signal
from pathlib import Path

from tests.support.flights import leading, sources, tiers, until_following
from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache
from tests.support.worker_world import WorkerWorld, terminal_of, text_of_last_attempt
from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import QueuedJob


async def followers_of(world: WorkerWorld, leader: QueuedJob, number: int) -> list[QueuedJob]:
    """So many jobs that have said some of what it says."""
    jobs = [await world.submit(tokens=None) for _ in range(number)]
    await asyncio.gather(*(world.until_deltas(each, 2) for each in jobs))
    assert (await world.head(leader)).attempts == 1
    return jobs


async def test_a_leader_that_is_killed_costs_one_more_call_for_all(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its followers in its own process are lost with it, and follow again, or lead."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
        world.process(**cache.settings) as killed,
    ):
        leader = await leading(world)
        with_it = await followers_of(world, leader, 3)
        async with world.process(**cache.settings, worker_concurrency=64) as other:
            elsewhere = [await world.submit(tokens=None) for _ in range(20)]
            await asyncio.gather(*(until_following(world, each) for each in elsewhere))
            await killed.kill()
            jobs = (leader, *with_it, *elsewhere)
            logs = await asyncio.gather(*map(world.until_end, jobs))
            assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
            assert all(isinstance(terminal_of(events), Completed) for events in logs)
            stats = await world.stats()
            assert (stats["started"], stats["most_running"]) == (2, 1)
            await world.until_queue_empty()
            assert other.complaints() == []
            await cache.until_stored()
            assert len(cache.stores) == 1


async def test_a_leader_that_froze_and_wakes_up_stores_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It still believes that it leads; and what it would store, nobody may have been told."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
        # With no slot left, it takes no job into its sleep but the leader.
        world.process(**cache.settings, worker_concurrency=2) as zombie,
    ):
        leader = await leading(world)
        await world.until_deltas(leader, 2)
        zombie.signal(signal.SIGSTOP)
        async with world.process(**cache.settings):
            follower = await world.submit(tokens=None)
            await until_following(world, follower)
            logs = await asyncio.gather(*map(world.until_end, (leader, follower)))
            zombie.signal(signal.SIGCONT)
            assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
            # One of the two has called anew.
            assert [tiers(events)[-1] for events in logs].count("miss") == 1
            assert sources(logs[1])[0] == leader.id
            await zombie.until_ready()
            later = terminal_of(await world.until_end(await world.submit(tokens=7)))
            assert isinstance(later, Completed)
            await world.until_queue_empty()
            stats = await world.stats(idle_within="5")
            assert stats["started"] == 3
        zombie.signal(signal.SIGTERM)
        assert await zombie.wait() == 0
        (stored,) = cache.stores
        called = [
            job.id
            for job, events in zip((leader, follower), logs, strict=True)
            if tiers(events)[-1] == "miss"
        ]
        assert [stored.answer.job_id] == called
