"""Workers that ask the cache: its answers cost nothing, and its absence costs no job."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache, bypass, hit, key_of, miss, shadow
from tests.support.services import ServiceProcess
from tests.support.worker_world import (
    WorkerWorld,
    attempts_of,
    terminal_of,
    text_of_last_attempt,
)
from tidegate.contracts.events import CacheMark, Completed, Delta, Usage
from tidegate.v1 import cache_pb2 as pb

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TEXT = "At half past four, as every day of this week.\n\n  Not before."
INPUT_TOKENS = 10


async def metric(worker: ServiceProcess, line: str) -> None:
    """Returns when the worker's metrics say so."""
    while line not in await worker.metrics():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("response", "mark"),
    [
        (
            hit(TEXT, cost_nano_usd=77),
            CacheMark("exact", source="job_1", entry="entry-1"),
        ),
        (
            hit(TEXT, tier=pb.CACHE_TIER_SEMANTIC, score=0.93, cost_nano_usd=77),
            CacheMark("semantic", score=0.93, source="job_1", entry="entry-1"),
        ),
    ],
)
async def test_a_hit_is_the_answer_and_nobody_is_called(
    response: pb.LookupResponse, mark: CacheMark, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        cache.say(response)
        job = await world.submit(model="priced")
        events = await world.until_end(job)
        end = terminal_of(events)
        assert isinstance(end, Completed)
        assert text_of_last_attempt(events) == TEXT
        assert end.finish_reasons == ["stop"]
        assert (end.usage, end.cost_nano_usd, end.saved_nano_usd) == (Usage(), 0, 77)
        assert (end.lost, end.lost_cost_nano_usd) == (Usage(), 0)
        (attempt,) = attempts_of(events)
        assert (attempt.provider, attempt.model, attempt.cache) == ("", "", mark)
        assert sum(b'"delta"' in raw for _, raw in events) > 3
        assert (await world.stats())["started"] == 0
        await world.until_queue_empty()
        assert cache.stores == []
        (asked,) = cache.lookups
        assert (asked.tenant, asked.model) == (job.tenant, "priced")
        assert asked.chat_json == bytes(job.request)
        # In mid-answer, it would not have counted.
        assert (await world.head(job)).lost_attempts == 0


async def test_a_hit_of_unknown_cost_saved_an_unknown_sum(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A zero would be added up as if the model were free."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        cache.say(hit(TEXT))
        end = terminal_of(await world.until_end(await world.submit()))
        assert isinstance(end, Completed)
        assert (end.cost_nano_usd, end.saved_nano_usd) == (0, None)


async def test_a_long_hit_is_whole_and_fits_where_a_models_answer_would(tmp_path: Path) -> None:
    """Put into the log in one piece, it would be over the server's bound on messages."""
    text = "".join(f"{number} tides. " for number in range(17_000))
    async with (
        NatsServer(tmp_path, config="max_payload: 524288") as nats,
        WorkerWorld(nats, tmp_path) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        await world.start_worker(**cache.settings)
        cache.say(hit(text))
        events = await world.until_end(await world.submit())
        assert isinstance(terminal_of(events), Completed)
        assert text_of_last_attempt(events) == text


@pytest.mark.parametrize(
    "response",
    [
        hit(""),
        hit(TEXT, finish_reason=""),
        hit(TEXT, tier=pb.CACHE_TIER_UNSPECIFIED),
        hit("x" * (256 * 1024 + 1)),
    ],
)
async def test_a_hit_that_cannot_be_given_is_a_miss(
    response: pb.LookupResponse, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        cache.say(response)
        events = await world.until_end(await world.submit())
        assert text_of_last_attempt(events) == world.answer()
        assert [each.cache for each in attempts_of(events)] == [CacheMark("miss")]


async def test_after_a_miss_the_whole_answer_is_stored_and_found(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        first = await world.submit(tokens=None, model="priced")
        events = await world.until_end(first)
        end = terminal_of(events)
        assert isinstance(end, Completed)
        assert end.cost_nano_usd
        assert end.saved_nano_usd == 0
        assert [each.cache for each in attempts_of(events)] == [CacheMark("miss")]
        await cache.until_stored()
        (stored,) = cache.stores
        assert (stored.tenant, stored.model, stored.shadow_of) == (first.tenant, "priced", "")
        assert stored.chat_json == bytes(first.request)
        assert stored.answer == pb.CachedAnswer(
            text=world.answer(None),
            finish_reason="stop",
            job_id=first.id,
            upstream_model="sim-small",
            input_tokens=INPUT_TOKENS,
            output_tokens=end.usage.output_tokens,
            cost_nano_usd=end.cost_nano_usd,
        )
        again = await world.until_end(await world.submit(tokens=None, model="priced"))
        found = terminal_of(again)
        assert isinstance(found, Completed)
        assert (found.cost_nano_usd, found.saved_nano_usd) == (0, end.cost_nano_usd)
        assert text_of_last_attempt(again) == text_of_last_attempt(events)
        assert (await world.stats())["started"] == 1


@pytest.mark.parametrize(
    ("response", "mark"),
    [(bypass(), None), (pb.LookupResponse(), None), (miss("not a key"), None)],
)
async def test_without_a_key_the_model_answers_and_nothing_is_stored(
    response: pb.LookupResponse, mark: None, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        worker = await world.start_worker(**cache.settings)
        cache.say(response)
        events = await world.until_end(await world.submit(tokens=None))
        assert text_of_last_attempt(events) == world.answer(None)
        assert [each.cache for each in attempts_of(events)] == [mark]
        await world.until_queue_empty()
        await worker.stop()
        assert cache.stores == []


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 20},  # Cut off: it ends by "length".
        {"tools": [TOOL], "tool_choice": "required"},
    ],
)
async def test_only_a_whole_answer_of_text_alone_is_stored(
    fields: dict[str, Any], nats_server: NatsServer, tmp_path: Path
) -> None:
    """Given again it would lack what the caller asked for."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        worker = await world.start_worker(**cache.settings)
        events = await world.until_end(await world.submit(tokens=None, **fields))
        assert isinstance(terminal_of(events), Completed)
        await world.until_queue_empty()
        await worker.stop()
        assert cache.stores == []


async def test_a_shadow_is_answered_by_the_model_and_compared(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        cache.say(shadow("entry-7"))
        events = await world.until_end(await world.submit(tokens=None))
        assert text_of_last_attempt(events) == world.answer(None)
        assert [each.cache for each in attempts_of(events)] == [CacheMark("miss")]
        await cache.until_stored()
        assert cache.stores[0].shadow_of == "entry-7"
        assert cache.stores[0].answer.text == world.answer(None)


async def test_what_was_lost_before_a_hit_stays_lost(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The model was paid for half an answer; that the cache had it then is no reason to hide it."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        job = await world.submit(model="priced")
        before = await world.start_attempt(job, provider="priced", model="sim-small")
        for _ in range(5):
            before.emit(Delta("word "))
        await before.caught_up()
        await before.abandon()
        cache.say(hit(TEXT, cost_nano_usd=5))
        async with world.process(**cache.settings) as worker:
            events = await world.until_end(job)
            end = terminal_of(events)
            assert isinstance(end, Completed)
            assert text_of_last_attempt(events) == TEXT
            assert (end.usage, end.cost_nano_usd, end.saved_nano_usd) == (Usage(), 0, 5)
            assert end.lost.output_tokens == 5
            assert end.lost_cost_nano_usd == end.lost.input_tokens * 1_000 + 5 * 2_000
            labels = 'model="sim-small",provider="priced"'
            lost = f"tidegate_worker_lost_cost_nano_usd_total{{{labels}}}"
            await metric(worker, f"{lost} {float(end.lost_cost_nano_usd)}")
            assert f"tidegate_worker_cost_nano_usd_total{{{labels}}} 0.0" in await worker.metrics()
            assert 'tidegate_worker_attempts_total{why="exact"} 1.0' in await worker.metrics()


async def test_a_request_that_is_too_large_is_not_sent(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path) as world,
        ScriptedCache(tmp_path) as cache,
        world.process(**cache.settings) as worker,
    ):
        messages = [{"role": "user", "content": "x" * 256 * 1024}]
        events = await world.until_end(await world.submit(messages=messages))
        assert isinstance(terminal_of(events), Completed)
        assert cache.lookups == []
        await metric(worker, 'cache_lookups_total{outcome="bypass",tier="none"} 1.0')


async def test_the_same_question_at_once_is_asked_once(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A herd would take the cache longer than it has."""
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.answering.clear()
        jobs = [await world.submit() for _ in range(8)]
        await world.start_worker(**cache.settings)
        await cache.until_asked()
        await world.until_deliveries(len(jobs))
        cache.answering.set()
        for events in await asyncio.gather(*map(world.until_end, jobs)):
            assert text_of_last_attempt(events) == world.answer()
        assert len(cache.lookups) < len(jobs)


async def complete_all(world: WorkerWorld, number: int) -> None:
    jobs = [await world.submit(tokens=5, user=f"u{each}") for each in range(number)]
    for events in await asyncio.gather(*map(world.until_end, jobs)):
        assert isinstance(terminal_of(events), Completed)
        assert text_of_last_attempt(events) == world.answer(5)
        assert [each.cache for each in attempts_of(events)] == [None]


async def test_a_cache_that_is_not_there_costs_no_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        await cache.kill()
        async with world.process(**cache.settings) as worker:
            await complete_all(world, 20)
            text = await worker.metrics()
            assert 'cache_lookups_total{outcome="unavailable",tier="none"}' in text
            # Not each of them has to find out for itself.
            assert 'cache_lookups_total{outcome="resting",tier="none"}' in text
            assert worker.log.read_text("utf-8").count("the cache is not asked") == 1


async def test_a_cache_that_says_nothing_costs_no_job(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.answering.clear()
        settings = cache.settings | {"cache_lookup_seconds": 0.05}
        async with world.process(**settings) as worker:
            await complete_all(world, 20)
            assert 'cache_lookups_total{outcome="timeout",tier="none"}' in await worker.metrics()
        cache.answering.set()


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAUTHENTICATED])
async def test_a_cache_that_refuses_costs_no_job(
    code: grpc.StatusCode, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.refusal = code
        async with world.process(**cache.settings) as worker:
            await complete_all(world, 5)
            assert 'cache_lookups_total{outcome="error",tier="none"} 5.0' in await worker.metrics()


async def test_a_cache_that_is_killed_under_load_costs_no_job_and_is_found_again(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        WorkerWorld(nats_server, tmp_path) as world,
        ScriptedCache(tmp_path) as cache,
        world.process(**cache.settings) as worker,
    ):
        jobs = [await world.submit(tokens=5, user=f"u{number}") for number in range(40)]
        ends = asyncio.gather(*map(world.until_end, jobs))
        await cache.until_asked(10)
        await cache.kill()
        for events in await ends:
            assert isinstance(terminal_of(events), Completed)
            assert text_of_last_attempt(events) == world.answer(5)
        await cache.start()
        cache.say(hit(TEXT))
        while text_of_last_attempt(await world.until_end(await world.submit(tokens=6))) != TEXT:
            await asyncio.sleep(0.1)
        assert '"level": "error"' not in worker.log.read_text("utf-8")


async def test_an_answer_that_cannot_be_stored_was_given_all_the_same(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.storing.clear()
        settings = cache.settings | {"cache_store_seconds": 0.2}
        async with world.process(**settings) as worker:
            events = await world.until_end(await world.submit(tokens=None))
            assert text_of_last_attempt(events) == world.answer(None)
            await metric(worker, 'cache_stores_total{outcome="failed"} 1.0')
        cache.storing.set()


async def test_answers_that_wait_to_be_stored_are_bounded(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A cache that takes them slowly must not fill the worker's memory with them."""
    async with (
        WorkerWorld(nats_server, tmp_path, tokens_per_second=5_000) as world,
        ScriptedCache(tmp_path) as cache,
    ):
        cache.storing.clear()
        settings = cache.settings | {"cache_store_seconds": 60}
        async with world.process(**settings, worker_concurrency=128) as worker:
            jobs = [await world.submit(tokens=None, user=f"u{number}") for number in range(70)]
            for events in await asyncio.gather(*map(world.until_end, jobs)):
                assert isinstance(terminal_of(events), Completed)
            await metric(worker, 'cache_stores_total{outcome="crowded"} 6.0')
            cache.storing.set()
            await metric(worker, 'cache_stores_total{outcome="stored"} 64.0')


async def test_a_worker_that_goes_gives_its_answers_a_moment_to_be_stored(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world, ScriptedCache(tmp_path) as cache:
        cache.storing.clear()
        worker = await world.start_worker(**cache.settings, drain_seconds=10)
        job = await world.submit(tokens=None)
        await cache.until_stored()
        stopping = asyncio.create_task(worker.stop())
        cache.storing.set()
        await stopping
        assert cache.stores[0].answer.job_id == job.id
        assert key_of(cache.stores[0]) == key_of(cache.lookups[0])
