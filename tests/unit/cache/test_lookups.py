"""Lookups. Who lost this would pay for the same answer twice, or wait for a cache that is ill."""

import asyncio

import numpy as np
import pytest

from tests.support.cache_parts import (
    DIMENSION,
    CacheParts,
    ListStore,
    SaysVerifier,
    chat,
    says,
)
from tidegate.cache.decision import Policy
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.cache.lookups import Found, LookupOptions, Outcome, Tier
from tidegate.cache.storing import KeepingOptions

QUESTION = "How long does the delivery to the island take?"
REWORDED = "how long does the delivery to the island take"
NUMBERS = "How long does the delivery of 2 boxes take?"
OTHER_NUMBERS = "How long does the delivery of 3 boxes take?"
# Nearer than 0.7, further than 0.92.
NEAR = "How long does the cheapest postal delivery to the island take?"


def missed(found: Found) -> str:
    """The reason of a miss, which always has a key: its answer may be stored."""
    assert found.outcome is Outcome.MISS
    assert len(found.key) == 64
    assert found.entry is None
    return found.reason


async def test_the_same_question_is_answered_by_the_exact_tier() -> None:
    cache = await CacheParts().start()
    assert missed(await cache.ask(QUESTION)) == "nothing_stored"
    assert await cache.keep(QUESTION, "Three days.") == ""
    found = await cache.ask(f"  {QUESTION}\n")
    assert (found.outcome, found.tier, found.score) == (Outcome.HIT, Tier.EXACT, None)
    assert found.entry is not None
    assert (found.entry.text, found.entry.cost_nano_usd) == ("Three days.", 700)
    assert cache.metric(
        "tidegate_cache_lookups_total", tier="exact", outcome="hit", reason=""
    ) == 1  # fmt: skip


async def test_what_is_stored_while_it_is_looked_for_is_an_exact_hit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, "Three days.")

    async def too_early(*_: object) -> None:
        return None

    monkeypatch.setattr(cache.store, "get", too_early)
    assert (await cache.ask(QUESTION)).tier is Tier.EXACT
    assert (await cache.ask(REWORDED)).tier is Tier.SEMANTIC


async def test_a_reworded_one_is_answered_by_the_semantic_tier() -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, "Three days.")
    found = await cache.ask(REWORDED)
    assert (found.outcome, found.tier) == (Outcome.HIT, Tier.SEMANTIC)
    assert found.score is not None
    assert 0.92 <= found.score < 1
    assert found.entry is not None
    assert found.entry.question == QUESTION


async def test_the_guard_keeps_a_look_alike_from_being_served() -> None:
    cache = await CacheParts().start()
    await cache.keep(NUMBERS, "Two days.")
    assert missed(await cache.ask(OTHER_NUMBERS)) == "guarded"
    assert cache.metric("tidegate_cache_guard_objections_total", rule="number") == 1


async def test_another_tenant_model_talk_or_system_text_finds_nothing() -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, "Three days.")
    for question in (QUESTION, REWORDED):
        assert missed(await cache.ask(question, tenant="globex")) == "nothing_stored"
        assert missed(await cache.ask(question, model="sim-2")) == "nothing_stored"
        assert missed(await cache.ask(question, max_tokens=5)) == "nothing_stored"
        for before in (says("system", "Be brief."), says("user", "Hello")):
            assert missed(await cache.ask(before, question)) == "nothing_stored"


async def test_an_answer_expires_within_its_jitter() -> None:
    cache = await CacheParts(keeping=KeepingOptions(ttl=1_000, jitter=0.1)).start()
    cache.drawn = 0.5
    await cache.keep(QUESTION, "Three days.")
    cache.now += 949
    assert (await cache.ask(QUESTION)).outcome is Outcome.HIT
    cache.now += 1
    assert missed(await cache.ask(QUESTION)) == "nothing_stored"
    assert missed(await cache.ask(REWORDED)) == "nothing_stored"


async def test_what_comes_from_the_future_is_not_served_until_then() -> None:
    """A clock that ran ahead would have its answers served long after they should have gone."""
    cache = await CacheParts().start()
    cache.now += 61
    await cache.keep(QUESTION, "Three days.")
    cache.now -= 61
    assert missed(await cache.ask(QUESTION)) == "nothing_stored"
    assert missed(await cache.ask(REWORDED)) == "nothing_stored"
    cache.now += 1
    assert (await cache.ask(QUESTION)).outcome is Outcome.HIT


@pytest.mark.parametrize("question", [QUESTION, REWORDED])
async def test_a_store_that_filters_nothing_still_crosses_no_border(question: str) -> None:
    """Of an answer that belongs to somebody else, one check is too few."""
    cache = await CacheParts(store=ListStore(careless=True)).start()
    await cache.keep(QUESTION, "Three days.")
    missed(await cache.ask(question, tenant="globex"))
    missed(await cache.ask(question, model="sim-2"))
    cache.now += 100_000
    missed(await cache.ask(question))


async def test_a_long_question_is_found_only_as_it_is() -> None:
    cache = await CacheParts().start()
    long = "word " * 300
    assert missed(await cache.ask(long)) == "long_question"
    assert await cache.keep(long, "ok") == ""
    assert (await cache.ask(long)).tier is Tier.EXACT
    assert cache.embedder.texts == []


async def test_what_cannot_be_cached_is_passed_by() -> None:
    cache = await CacheParts().start()
    found = await cache.lookups.lookup("acme", "sim-1", b"\x00")
    assert found == Found(Outcome.BYPASS, "unreadable")
    assert cache.metric(
        "tidegate_cache_lookups_total", tier="none", outcome="bypass", reason="unreadable"
    ) == 1  # fmt: skip


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EmbedderError("down", passing=True), "embedder_away"),
        (EmbedderError("nan"), "not_embeddable"),
    ],
)
async def test_without_the_embedder_only_the_same_is_found(
    error: EmbedderError, reason: str
) -> None:
    cache = await CacheParts().start()
    cache.embedder.fails = error
    assert await cache.keep(QUESTION, "Three days.") == ""
    assert (await cache.ask(QUESTION)).tier is Tier.EXACT
    assert missed(await cache.ask(REWORDED)) == reason
    assert cache.metric("tidegate_cache_stores_total", outcome="exact_only") == 1


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [np.full(DIMENSION, np.nan, dtype=np.float32)],
        [np.zeros(DIMENSION, dtype=np.float32)],
        [np.ones(DIMENSION + 1, dtype=np.float32)],
        [np.ones((1, DIMENSION), dtype=np.float32)],
    ],
    ids=["nothing", "nan", "zeros", "another dimension", "another shape"],
)
async def test_what_is_no_vector_is_not_used(answers: list[Vector]) -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, "Three days.")
    cache.embedder.answers = answers
    assert missed(await cache.ask(REWORDED)) == "not_embeddable"
    assert await cache.keep(REWORDED, "Three days.") == ""


async def test_an_embedder_that_nobody_calibrated_compares_nothing() -> None:
    cache = await CacheParts(calibrated=False).start()
    await cache.keep(QUESTION, "Three days.")
    assert missed(await cache.ask(REWORDED)) == "uncalibrated"
    assert (await cache.ask(QUESTION)).tier is Tier.EXACT
    assert cache.embedder.texts == []


async def test_exact_hits_need_no_embedder() -> None:
    cache = await CacheParts(embedder=False).start()
    await cache.keep(QUESTION, "Three days.")
    assert missed(await cache.ask(REWORDED)) == "no_embedder"
    assert (await cache.ask(QUESTION)).tier is Tier.EXACT


async def test_a_store_that_is_away_is_a_miss() -> None:
    cache = await CacheParts().start()
    cache.store.away = True
    assert missed(await cache.ask(QUESTION)) == "store_away"
    assert await cache.keep(QUESTION, "Three days.") == "store_away"


async def test_a_lookup_has_an_end() -> None:
    cache = await CacheParts(lookups=LookupOptions(deadline=0.01)).start()
    cache.embedder.held = asyncio.Event()
    assert missed(await cache.ask(QUESTION)) == "deadline"


async def test_who_does_not_wait_is_counted() -> None:
    cache = await CacheParts().start()
    cache.embedder.held = asyncio.Event()
    asking = asyncio.create_task(cache.ask(QUESTION))
    while not cache.embedder.texts:
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert cache.metric("tidegate_cache_lookup_seconds_count", outcome="gone") == 1


VERIFYING = Policy(threshold=0.92, accounted=0.92, band_low=0.7)


@pytest.mark.parametrize("answer", [True, False, None])
async def test_near_questions_are_up_to_the_verifier(answer: bool | None) -> None:
    verifier = SaysVerifier(answer)
    cache = await CacheParts(verifier=verifier, policy=VERIFYING, guarded=False).start()
    await cache.keep(QUESTION, "Three days.")
    found = await cache.ask(NEAR)
    assert verifier.asked == [(NEAR, QUESTION)]
    if answer:
        assert (found.outcome, found.tier) == (Outcome.HIT, Tier.SEMANTIC)
    else:
        assert missed(found) == "unverified"


async def test_the_verifier_is_not_asked_where_something_grave_speaks_against_it() -> None:
    verifier = SaysVerifier(True)
    cache = await CacheParts(verifier=verifier, policy=VERIFYING).start()
    await cache.keep(NUMBERS, "Two days.")
    assert missed(await cache.ask(OTHER_NUMBERS)) == "guarded"
    assert verifier.asked == []


async def test_a_share_of_like_hits_becomes_shadows_and_no_exact_one() -> None:
    cache = await CacheParts(lookups=LookupOptions(shadow_share=0.5)).start()
    await cache.keep(QUESTION, "Three days.")
    cache.drawn = 0.49
    found = await cache.ask(REWORDED)
    assert (found.outcome, found.tier) == (Outcome.SHADOW, Tier.SEMANTIC)
    assert found.entry is not None
    assert (await cache.ask(QUESTION)).outcome is Outcome.HIT
    cache.drawn = 0.5
    assert (await cache.ask(REWORDED)).outcome is Outcome.HIT


async def test_no_store_is_neither_looked_up_nor_kept() -> None:
    cache = await CacheParts().start()
    metadata = {"tidegate_cache": "no-store"}
    assert await cache.keep(QUESTION, "Three days.", metadata=metadata) == "no_store"
    assert missed(await cache.ask(QUESTION)) == "nothing_stored"
    await cache.keep(QUESTION, "Three days.")
    found = await cache.lookups.lookup("acme", "sim-1", chat(QUESTION, metadata=metadata))
    assert found == Found(Outcome.BYPASS, "no_store")
