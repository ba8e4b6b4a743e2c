"""Single flight: those who ask the same at once get one answer, which is paid for once."""

import asyncio
from pathlib import Path

from tests.support.flights import (
    BRIEF,
    PATIENT,
    end_lease,
    leading,
    lease_of,
    sources,
    tiers,
    until_following,
)
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache, key_of, miss, shadow
from tests.support.worker_world import (
    WorkerWorld,
    attempts_of,
    terminal_of,
    text_of_last_attempt,
    waits_of,
)
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Completed, Failed, Usage
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.subjects import FLIGHTS_STREAM
from tidegate.v1 import cache_pb2 as pb
from tidegate.worker.flights import FlightPolicy


async def test_a_hundred_who_ask_the_same_make_one_call(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        for _ in range(2):
            await world.start_worker(**cache.settings, flying=PATIENT, worker_concurrency=128)
        jobs = await asyncio.gather(
            *(world.submit(tokens=None, model="priced") for _ in range(100))
        )
        logs = await asyncio.gather(*map(world.until_end, jobs))
        assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
        ends = [end for events in logs if isinstance(end := terminal_of(events), Completed)]
        assert len(ends) == len(jobs)
        assert (await world.stats())["started"] == 1
        paid = [end for end in ends if end.cost_nano_usd]
        assert len(paid) == 1
        others = [end for end in ends if not end.cost_nano_usd]
        assert {end.saved_nano_usd for end in others} == {paid[0].cost_nano_usd}
        assert {end.usage for end in others} == {Usage()}
        assert len(cache.stores) == 1
        await world.until_queue_empty()


async def test_a_shadow_is_one_call_however_many_ask(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """One draw, one comparison, one price: not one for each who happens to ask the same."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        draws = ["entry-7"]

        def draw(request: pb.LookupRequest) -> pb.LookupResponse:
            return shadow(draws.pop(), key_of(request)) if draws else cache.by_itself(request)

        cache.say(draw)
        cache.answering.clear()
        jobs = [await world.submit(tokens=None) for _ in range(8)]
        await world.start_worker(**cache.settings, flying=PATIENT)
        await cache.until_asked()
        await world.until_deliveries(len(jobs))
        cache.answering.set()
        for events in await asyncio.gather(*map(world.until_end, jobs)):
            assert text_of_last_attempt(events) == world.answer(None)
        assert (await world.stats())["started"] == 1
        await cache.until_stored()
        assert [each.shadow_of for each in cache.stores] == ["entry-7"]


async def test_a_follower_gets_the_words_as_they_are_said(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Not at the end: whoever waits at a screen sees the answer grow."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=5) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        for _ in range(2):
            await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await leading(world)
        follower = await world.submit(tokens=None)
        await world.until_deltas(follower, 3)
        assert not (await world.head(leader)).sealed
        assert (await world.stats())["started"] == 1
        for job in (follower, leader):
            await world.record_cancel(job.id)
            await world.until_end(job)


async def test_a_leader_that_is_cancelled_leaves_the_call_to_one_of_its_followers(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """They want their answers as before; and one call is enough for all of them."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        for _ in range(2):
            await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await leading(world)
        followers = [await world.submit(tokens=None) for _ in range(6)]
        await asyncio.gather(*(world.until_deltas(each, 2) for each in followers))
        await world.record_cancel(leader.id)
        assert isinstance(terminal_of(await world.until_end(leader)), Cancelled)
        logs = await asyncio.gather(*map(world.until_end, followers))
        assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
        assert (await world.stats())["started"] == 2
        assert sorted(tiers(events)[-1] or "" for events in logs) == ["coalesced"] * 5 + ["miss"]
        assert all(sources(events)[0] == leader.id for events in logs)
        # What none of them called for counts against none of them.
        for job, events in zip(followers, logs, strict=True):
            assert (await world.head(job)).lost_attempts == tiers(events).count("miss")
        await cache.until_stored()
        assert cache.stores[0].answer.job_id != leader.id


async def test_a_leader_that_fails_is_succeeded_by_a_follower(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its attempts are used up, and theirs are not."""
    async with (
        WorkerWorld(nats_server, tmp_path, ttft_seconds=0.5) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=PATIENT, max_attempts=1)
        await world.fault(cut_after=5, calls=1)
        leader = await leading(world)
        followers = [await world.submit(tokens=None) for _ in range(3)]
        await asyncio.gather(*(until_following(world, each) for each in followers))
        end = terminal_of(await world.until_end(leader))
        assert isinstance(end, Failed)
        assert end.reason == Reason.PROVIDER_STREAM_CUT
        logs = await asyncio.gather(*map(world.until_end, followers))
        assert {text_of_last_attempt(events) for events in logs} == {world.answer(None)}
        assert (await world.stats())["started"] == 2


async def test_an_outage_fails_followers_after_a_few_leaders_and_not_one_by_one(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Each in turn with all its attempts, the last would wait for ever."""
    async with (
        WorkerWorld(nats_server, tmp_path, ttft_seconds=0.5) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=PATIENT, max_attempts=1)
        await world.fault(cut_after=5)
        leader = await leading(world)
        followers = [await world.submit(tokens=None) for _ in range(6)]
        await asyncio.gather(*(until_following(world, each) for each in followers))
        for job in (leader, *followers):
            end = terminal_of(await world.until_end(job))
            assert isinstance(end, Failed)
            assert (end.reason, end.retriable) == (Reason.PROVIDER_STREAM_CUT, True)
        assert (await world.stats())["started"] == 2


async def test_where_the_leaders_text_starts_over_so_does_its_followers(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=PATIENT)
        await world.fault(cut_after=10, calls=1)
        leader = await leading(world)
        follower = await world.submit(tokens=None)
        logs = await asyncio.gather(*map(world.until_end, (leader, follower)))
        for events in logs:
            assert isinstance(terminal_of(events), Completed)
            assert text_of_last_attempt(events) == world.answer(None)
            assert len(attempts_of(events)) == 2
        assert sources(logs[1]) == [leader.id] * 2
        assert (await world.stats())["started"] == 2


async def test_a_follower_that_is_cancelled_leaves_its_leader_alone(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=PATIENT)
        leader = await leading(world)
        follower = await world.submit(tokens=None)
        await world.until_deltas(follower, 2)
        await world.record_cancel(follower.id)
        end = terminal_of(await world.until_end(follower))
        assert isinstance(end, Cancelled)
        assert (end.usage, end.cost_nano_usd) == (Usage(), 0)
        events = await world.until_end(leader)
        assert text_of_last_attempt(events) == world.answer(None)
        assert (await world.stats())["started"] == 1


async def test_workers_have_the_rights_that_following_takes(tmp_path: Path) -> None:
    """One that is missing ends the process, as soon as somebody asks what another asks."""
    async with (
        server_with_rights(tmp_path) as nats,
        WorkerWorld(nats, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
        world.process(
            **cache.settings,
            **login(nats, "worker"),
        ) as worker,
    ):
        leader = await leading(world)
        follower = await world.submit(tokens=None)
        await world.until_deltas(follower, 2)
        await world.record_cancel(leader.id)
        events = await world.until_end(follower)
        assert tiers(events) == ["coalesced", "miss"]
        assert text_of_last_attempt(events) == world.answer(None)
        assert worker.complaints() == []


async def test_two_tenants_share_no_flight(nats_server: NatsServer, tmp_path: Path) -> None:
    """Though the cache says the same key of both."""
    async with (
        WorkerWorld(nats_server, tmp_path, ttft_seconds=0.5) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=PATIENT)
        cache.say(miss("a" * 64))
        jobs = [await world.submit(tokens=None, tenant=tenant) for tenant in ("acme", "other")]
        await world.calls_running(2)
        for job in jobs:
            assert tiers(await world.until_end(job)) == ["miss"]
        assert (await world.stats())["started"] == 2


async def test_a_drained_worker_leaves_its_flights_to_those_that_stay(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Leader and followers go on elsewhere, at once, with one call; and no attempt is charged."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        settings = cache.settings | {"max_attempts": 1}
        first = await world.start_worker(**settings, flying=PATIENT)
        leader = await leading(world)
        with_it = await world.submit(tokens=None)
        await world.until_deltas(with_it, 2)
        await world.start_worker(**settings, flying=PATIENT)
        elsewhere = [await world.submit(tokens=None) for _ in range(4)]
        await asyncio.gather(*(world.until_deltas(each, 2) for each in elsewhere))
        await first.stop()
        for job in (leader, with_it, *elsewhere):
            events = await world.until_end(job)
            assert isinstance(terminal_of(events), Completed)
            assert text_of_last_attempt(events) == world.answer(None)
        assert (await world.stats())["started"] == 2


async def test_a_lease_that_is_not_kept_up_is_taken_over(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Its owner is cut off from it, and silent: of two answers, the one is kept that leads."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cut_off = FlightPolicy(lease=2, renew=60, answer=5)
        worker = await world.start_worker(**cache.settings, flying=cut_off)
        await world.fault(ttft=6, calls=1)
        leader = await leading(world)
        await world.start_worker(**cache.settings, flying=BRIEF)
        follower = await world.submit(tokens=None)
        events = await world.until_end(follower)
        assert tiers(events) == ["coalesced", "miss"]
        assert text_of_last_attempt(events) == world.answer(None)
        assert text_of_last_attempt(await world.until_end(leader)) == world.answer(None)
        await worker.stop()
        assert leader.id not in [each.answer.job_id for each in cache.stores]


async def test_a_leader_that_lost_its_lease_stores_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=20) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        worker = await world.start_worker(**cache.settings, flying=BRIEF)
        job = await leading(world)
        kept = await lease_of(world)
        assert kept is not None
        await world.jetstream.publish(kept.subject, b'{"job":"j","owner":"another","v":1}', {})
        events = await world.until_end(job)
        assert text_of_last_attempt(events) == world.answer(None)
        await worker.stop()
        assert cache.stores == []


async def test_leases_that_nats_has_forgotten_are_written_anew(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """They are in memory: a server that comes back must not have every answer made twice."""
    async with (
        WorkerWorld(nats_server, tmp_path, ttft_seconds=5) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings, flying=FlightPolicy(renew=0.2, answer=5.0))
        leader = await leading(world)
        follower = await world.submit(tokens=None)
        await until_following(world, follower)
        await end_lease(world)
        for job in (leader, follower):
            assert text_of_last_attempt(await world.until_end(job)) == world.answer(None)
        assert (await world.stats())["started"] == 1
        await cache.until_stored()


async def test_without_the_stream_of_flights_every_job_calls_for_itself(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """As it is while a platform is updated, before the first new gateway."""
    async with (
        WorkerWorld(nats_server, tmp_path, ttft_seconds=0.3) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.jetstream.api(f"STREAM.DELETE.{FLIGHTS_STREAM}")
        await world.start_worker(**cache.settings, flying=PATIENT)
        jobs = [await world.submit(tokens=None) for _ in range(3)]
        for events in await asyncio.gather(*map(world.until_end, jobs)):
            assert text_of_last_attempt(events) == world.answer(None)
        assert (await world.stats())["started"] == 3
        await cache.until_stored(3)


async def test_an_interactive_job_does_not_wait_with_a_batch_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The batch job has hours, the caller seconds."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        await world.fault(fail=429, retry_after=300, calls=1)
        batch = await world.submit(tokens=None, job_class=JobClass.BATCH)
        await world.until_waiting(batch)
        events = await world.until_end(await world.submit(tokens=None))
        assert isinstance(terminal_of(events), Completed)
        assert tiers(events)[-1] == "miss"
        assert waits_of(events) == []
        assert (await world.stats())["started"] == 2
        await world.record_cancel(batch.id)
        await world.until_end(batch)


async def test_a_batch_job_that_waited_finds_what_others_were_told_meanwhile(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        await world.fault(fail=429, retry_after=3, calls=1)
        batch = await world.submit(tokens=None, job_class=JobClass.BATCH)
        await world.until_waiting(batch)
        await world.until_end(await world.submit(tokens=None))
        await cache.until_stored()
        assert tiers(await world.until_end(batch)) == ["miss", "exact"]
        assert (await world.stats())["started"] == 2


async def test_what_has_landed_is_looked_for_in_the_cache(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A lookup that missed just before the answer came must not lead to a second call."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings, flying=PATIENT)
        await world.until_end(await world.submit(tokens=None))
        while (found := await lease_of(world)) is None or b"released" not in found.payload:
            await asyncio.sleep(0.01)

        def too_early(request: pb.LookupRequest) -> pb.LookupResponse:
            cache.say(None)
            return miss(key_of(request))

        cache.say(too_early)
        assert tiers(await world.until_end(await world.submit(tokens=None))) == ["exact"]
        assert len(cache.lookups) == 3
        assert (await world.stats())["started"] == 1
