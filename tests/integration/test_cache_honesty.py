"""Shadows and outages of a cache over gRPC. Who lost this would be served wrong answers for good,
or have jobs wait for a cache that is ill."""

import asyncio
from pathlib import Path

import pytest

from tests.support.cache_parts import TABLE, ListStore, WordsEmbedder
from tests.support.cache_world import CacheWorld, until
from tests.support.gateway_world import refused
from tests.support.nats_server import NatsServer
from tidegate.cache.app import Outside
from tidegate.cache.embedding import EmbedderError
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.v1 import cache_pb2 as pb

QUESTION = "How long does the delivery to the island take?"
REWORDED = "how long does the delivery to the island take"
ANSWER = "The delivery takes three days."
OTHER = "Ask your bank about it."


def outside(embedder: WordsEmbedder | None = None) -> Outside:
    """The tests' embedder, which costs nothing and can be taken away."""
    return Outside(embedder=embedder or WordsEmbedder(), calibration=TABLE)


async def shadow(world: CacheWorld, text: str) -> None:
    """A hit that the model answers too, by `text`."""
    await world.store(QUESTION, ANSWER)
    found = await world.lookup(REWORDED)
    assert found.outcome == pb.LOOKUP_OUTCOME_SHADOW
    assert not found.answer.text
    before = (await world.stats()).shadowed
    assert (await world.store(REWORDED, text, shadow_of=found.answer.entry_id)).stored

    async def compared() -> bool:
        return bool((await world.stats()).shadowed != before)

    await until(compared)
    await world.invalidate(everything=True)


async def test_hits_that_are_wrong_make_the_cache_stricter_for_good(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with CacheWorld(nats_server, tmp_path, outside=outside(), shadow_share=1.0) as world:
        for _ in range(3):
            await shadow(world, ANSWER.upper())
        stats = await world.stats()
        assert (stats.shadowed, stats.wrong, stats.threshold) == (3, 0, 0.92)
        for _ in range(16):
            await shadow(world, OTHER)
        stats = await world.stats()
        assert (stats.shadowed, stats.wrong) == (19, 16)
        await world.store(QUESTION, ANSWER)
        found = await world.lookup(REWORDED)
        await world.store(REWORDED, OTHER, shadow_of=found.answer.entry_id)

        async def stricter() -> bool:
            return bool((await world.stats()).threshold > 0.92)

        await until(stricter)
        stats = await world.stats()
        assert (stats.threshold_set, stats.threshold) == (0.92, pytest.approx(0.93))
        assert (stats.shadowed, stats.wrong) == (0, 0)
        # The wrong entry has gone, the model's answer is there.
        assert stats.entries == 1
        await world.restart()
        assert (await world.stats()).threshold == pytest.approx(0.93)
        assert (await world.stats(world.stranger)).threshold == 0.92
        await world.restart(cache_threshold=0.9)
        assert (await world.stats()).threshold == 0.9


async def test_the_fleet_shares_what_it_learns(nats_server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with CacheWorld(nats_server, tmp_path / "a", outside=outside()) as one:
        await one.store(QUESTION, ANSWER)
        entry = (await one.lookup(REWORDED)).answer.entry_id
        await one.acme.call("ReportFeedback", pb.ReportFeedbackRequest(entry_id=entry, wrong=True))
        async with CacheWorld(nats_server, tmp_path / "b", outside=outside()) as other:

            async def heard() -> bool:
                # What was judged is stored in the background: read again until it is there.
                await other.restart()
                return bool((await other.stats()).wrong == 1)

            await until(heard)


async def test_without_nats_lookups_go_on(nats_server: NatsServer, tmp_path: Path) -> None:
    async with CacheWorld(nats_server, tmp_path, outside=outside()) as world:
        await world.store(QUESTION, ANSWER)
        await nats_server.kill()
        assert (await world.lookup(REWORDED)).outcome == pb.LOOKUP_OUTCOME_HIT
        entry = (await world.lookup(QUESTION)).answer.entry_id
        wrong = pb.ReportFeedbackRequest(entry_id=entry, wrong=True)
        assert (await world.acme.call("ReportFeedback", wrong)).removed
        assert (await world.stats()).wrong == 1
        await nats_server.start()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EmbedderError("down", passing=True), "embedder_away"),
        (EmbedderError("another dimension"), "not_embeddable"),
    ],
)
async def test_without_the_embedder_the_same_question_is_still_answered(
    nats_server: NatsServer, tmp_path: Path, error: EmbedderError, reason: str
) -> None:
    embedder = WordsEmbedder()
    async with CacheWorld(nats_server, tmp_path, outside=outside(embedder)) as world:
        embedder.fails = error
        assert (await world.store(QUESTION, ANSWER)).stored
        assert (await world.lookup(QUESTION)).outcome == pb.LOOKUP_OUTCOME_HIT
        found = await world.lookup(REWORDED)
        assert (found.outcome, found.reason) == (pb.LOOKUP_OUTCOME_MISS, reason)
        embedder.fails = None
        assert (await world.lookup(REWORDED)).reason == "nothing_stored"


async def test_a_store_that_is_away_costs_hits_and_no_more(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    store = ListStore()
    brought = Outside(embedder=WordsEmbedder(), calibration=TABLE, store=store)
    async with CacheWorld(nats_server, tmp_path, outside=brought) as world:
        await world.store(QUESTION, ANSWER)
        store.away = True
        found = await world.lookup(QUESTION)
        assert (found.outcome, found.reason) == (pb.LOOKUP_OUTCOME_MISS, "store_away")
        assert (await world.store(REWORDED, ANSWER)).reason == "store_away"
        for call in (world.invalidate(everything=True), world.stats()):
            assert from_rpc_error(await refused(call)).reason is Reason.UNAVAILABLE
        store.away = False
        assert (await world.lookup(QUESTION)).outcome == pb.LOOKUP_OUTCOME_HIT


async def test_a_lookup_ends_in_time(nats_server: NatsServer, tmp_path: Path) -> None:
    embedder = WordsEmbedder()
    late, brought = 0.05, outside(embedder)
    async with CacheWorld(
        nats_server, tmp_path, outside=brought, cache_deadline_seconds=late
    ) as world:
        embedder.held = asyncio.Event()
        found = await world.lookup(QUESTION)
        assert (found.outcome, found.reason) == (pb.LOOKUP_OUTCOME_MISS, "deadline")


# The client's own toy server, which knows no indexes and says so.
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_a_qdrant_store_is_a_setting(nats_server: NatsServer, tmp_path: Path) -> None:
    server = {"cache_store": "qdrant", "qdrant_url": ":memory:"}
    async with CacheWorld(nats_server, tmp_path, outside=outside(), **server) as world:
        await world.store(QUESTION, ANSWER)
        assert (await world.lookup(QUESTION)).tier == pb.CACHE_TIER_EXACT
        assert (await world.lookup(REWORDED)).tier == pb.CACHE_TIER_SEMANTIC
        assert (await world.stats()).store == "qdrant"


async def test_a_server_that_is_not_there_keeps_nobody_waiting(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    server = {"cache_store": "qdrant", "qdrant_url": "http://127.0.0.1:1"}
    async with CacheWorld(nats_server, tmp_path, outside=outside(), **server) as world:
        assert (await world.lookup(QUESTION)).reason == "store_away"
