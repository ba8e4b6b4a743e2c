"""Storing, shadows and upkeep. Who lost this would be served half an answer, or a deleted one."""

import asyncio

import pytest

from tests.support.cache_parts import JOB, TENANT, CacheParts, ListStore, SaysVerifier, chat
from tidegate.cache.decision import Policy
from tidegate.cache.entries import Entry, Selection, StoreError, Vector
from tidegate.cache.honesty import Tally
from tidegate.cache.lookups import LookupOptions, Outcome, Tier
from tidegate.cache.storing import KeepingOptions
from tidegate.chassis.component import Deadline

QUESTION = "How long does the delivery to the island take?"
REWORDED = "how long does the delivery to the island take"
ANSWER = "The delivery takes three days."
AGREES = "the delivery takes three days"
DISAGREES = "Ask your bank about it."


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        (ANSWER, "length", "finish_reason"),
        (ANSWER, "content_filter", "finish_reason"),
        (ANSWER, "", "finish_reason"),
        (" \n", "stop", "empty_answer"),
        ("é" * (128 * 1024) + "a", "stop", "answer_too_long"),
    ],
)
async def test_only_whole_answers_are_kept(text: str, finish_reason: str, reason: str) -> None:
    cache = await CacheParts().start()
    assert await cache.keep(QUESTION, text, finish_reason=finish_reason) == reason
    assert cache.store.kept == {}
    assert cache.metric("tidegate_cache_stores_total", outcome=reason) == 1


async def test_a_later_answer_takes_the_place_of_an_earlier_one() -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, "Two days.")
    await cache.keep(QUESTION, ANSWER)
    found = await cache.ask(QUESTION)
    assert found.entry is not None
    assert found.entry.text == ANSWER
    assert len(cache.store.kept) == 1


async def test_an_answer_that_comes_after_its_job_was_deleted_is_not_kept() -> None:
    cache = await CacheParts().start()
    assert await cache.upkeep.invalidate(Selection(TENANT, job_id=JOB)) == 0
    assert await cache.keep(QUESTION, ANSWER) == "deleted"
    cache.now += 601
    assert await cache.keep(QUESTION, ANSWER) == ""


async def test_an_answer_whose_job_is_deleted_while_it_is_stored_goes() -> None:
    cache = await CacheParts().start()
    cache.store.held = asyncio.Event()
    storing = asyncio.create_task(cache.keep(QUESTION, ANSWER))
    while not cache.embedder.texts:
        await asyncio.sleep(0)
    await cache.upkeep.invalidate(Selection(TENANT, job_id=JOB))
    cache.store.held.set()
    assert await storing == "deleted"
    assert cache.store.kept == {}


async def storing_is_under_way(cache: CacheParts) -> asyncio.Task[str]:
    """An answer whose question and gist are known, and which the store is about to keep."""
    cache.store.held = asyncio.Event()
    storing = asyncio.create_task(cache.keep(QUESTION, ANSWER))
    while not cache.store.put_ids:
        await asyncio.sleep(0)
    await cache.upkeep.invalidate(Selection(TENANT, job_id=JOB))
    return storing


async def gone(cache: CacheParts) -> None:
    """Returns when nothing is kept; fails the test where that never happens."""
    async with asyncio.timeout(10):
        while cache.store.kept or cache.store.ill:
            await asyncio.sleep(0)


async def test_a_deleted_jobs_answer_goes_although_the_store_did_not_say_that_it_kept_it() -> None:
    cache = await CacheParts().start()
    cache.store.late = True
    storing = await storing_is_under_way(cache)
    assert cache.store.held is not None
    cache.store.held.set()
    assert await storing == "store_away"
    assert cache.store.kept == {}


async def test_a_deleted_jobs_answer_goes_although_the_worker_no_longer_waits() -> None:
    """Its deadline ends the call, and not what the store is doing."""
    store = FarStore()
    cache = await CacheParts(store=store).start()
    storing = await storing_is_under_way(cache)
    storing.cancel()
    await asyncio.gather(storing, return_exceptions=True)
    assert cache.store.held is not None
    cache.store.held.set()
    await asyncio.gather(*store.putting)
    await cache.storing.stop(Deadline(10))
    assert len(cache.store.put_ids) == 1
    assert cache.store.kept == {}


class FarStore(ListStore):
    """It does what it was asked, whether or not anybody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.putting: list[asyncio.Task[None]] = []

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        self.putting.append(asyncio.create_task(super().put(entry, vector)))
        await asyncio.shield(self.putting[-1])


@pytest.mark.parametrize("error", [StoreError("no answer"), RuntimeError("unforeseen")])
async def test_a_deleted_jobs_answer_goes_although_it_could_not_be_removed_at_once(
    error: Exception,
) -> None:
    cache = await CacheParts(keeping=KeepingOptions(again=(0, 0, 0))).start()
    storing = await storing_is_under_way(cache)
    cache.store.ill = [error, error]
    assert cache.store.held is not None
    cache.store.held.set()
    assert await storing == "deleted"
    await gone(cache)
    assert cache.guard.fault is None


async def test_an_answer_that_the_store_keeps_too_late_goes_when_its_job_is_deleted() -> None:
    """The store does not answer in time, the job is deleted, and then the store keeps it."""
    cache = await CacheParts(keeping=KeepingOptions(again=(0,) * 50)).start()
    cache.store.late = True
    assert await cache.keep(QUESTION, ANSWER) == "store_away"
    cache.forgotten.add(TENANT, JOB)
    assert len(cache.store.kept) == 1
    await gone(cache)


async def test_a_job_that_is_deleted_just_before_is_not_put() -> None:
    cache = await CacheParts().start()
    cache.embedder.held = asyncio.Event()
    storing = asyncio.create_task(cache.keep(QUESTION, ANSWER))
    while not cache.embedder.texts:
        await asyncio.sleep(0)
    await cache.upkeep.invalidate(Selection(TENANT, job_id=JOB))
    cache.embedder.held.set()
    assert await storing == "deleted"
    assert cache.store.put_ids == []


async def test_a_store_that_fails_unforeseen_ends_no_process() -> None:
    cache = await CacheParts(store=BrokenStore()).start()
    with pytest.raises(RuntimeError):
        await cache.keep(QUESTION, ANSWER)
    assert cache.guard.fault is None


class BrokenStore(ListStore):
    """It raises what no store may."""

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        raise RuntimeError("unforeseen")


class BrokenVerifier:
    """It raises what no verifier may."""

    async def same(self, question: str, stored_question: str) -> bool | None:
        raise RuntimeError("unforeseen")


async def test_a_comparison_that_fails_unforeseen_ends_no_process() -> None:
    cache = await CacheParts(
        lookups=LookupOptions(shadow_share=1), verifier=BrokenVerifier()
    ).start()
    await shadowed(cache, DISAGREES)
    assert cache.guard.fault is None
    assert cache.honesty.record(TENANT).judged == 0
    assert cache.metric("tidegate_cache_shadows_total", verdict="not_compared") == 1


async def shadowed(cache: CacheParts, text: str) -> str:
    """Keeps an answer, finds it by a like question, and stores the model's; the entry's id."""
    await cache.keep(QUESTION, ANSWER)
    found = await cache.ask(REWORDED)
    assert found.outcome is Outcome.SHADOW
    assert found.entry is not None
    assert await cache.keep(REWORDED, text, shadow_of=found.entry.id) == ""
    await cache.settled()
    return found.entry.id


def shadowing(verifier: SaysVerifier | None = None) -> CacheParts:
    return CacheParts(lookups=LookupOptions(shadow_share=1), verifier=verifier)


async def test_a_shadow_that_agrees_counts_as_right() -> None:
    cache = await shadowing().start()
    await shadowed(cache, AGREES)
    assert cache.honesty.record(TENANT).right == 1
    assert len(cache.store.kept) == 2


async def test_a_shadow_that_disagrees_counts_as_wrong_and_its_entry_goes() -> None:
    cache = await shadowing().start()
    entry_id = await shadowed(cache, DISAGREES)
    assert cache.honesty.record(TENANT).wrong == 1
    assert [key for _, key in cache.store.kept] != [entry_id]
    assert len(cache.store.kept) == 1
    assert cache.metric("tidegate_cache_shadows_total", verdict="wrong") == 1


@pytest.mark.parametrize(("says", "wrong"), [(True, 0), (False, 1)])
async def test_a_verifier_decides_instead(says: bool, wrong: int) -> None:
    verifier = SaysVerifier(says)
    cache = await shadowing(verifier).start()
    await shadowed(cache, DISAGREES)
    assert verifier.asked == [(REWORDED, QUESTION)]
    assert cache.honesty.record(TENANT).wrong == wrong


async def test_a_verifier_that_fails_says_nothing_of_a_hit() -> None:
    """An outage of the verifier's would tighten every tenant's threshold."""
    cache = await shadowing(SaysVerifier(None)).start()
    await shadowed(cache, DISAGREES)
    assert cache.honesty.record(TENANT).judged == 0
    assert cache.metric("tidegate_cache_shadows_total", verdict="not_compared") == 1


@pytest.mark.parametrize("entry", ["", "nonsense", "12345678-1234-5678-1234-567812345678"])
async def test_a_shadow_of_nothing_is_stored_and_not_compared(entry: str) -> None:
    cache = await CacheParts().start()
    assert await cache.keep(QUESTION, ANSWER, shadow_of=entry) == ""
    await cache.settled()
    assert cache.honesty.record(TENANT).judged == 0


async def test_a_breach_makes_the_tenant_and_no_other_stricter() -> None:
    cache = await CacheParts(policy=Policy(0.7, 0.7), guarded=False).start()
    await cache.keep(QUESTION, ANSWER)
    await cache.keep(QUESTION, ANSWER, tenant="globex")
    for step in range(1, 22):
        cache.honesty.tell(TENANT, Tally(wrong=20))
        await cache.honesty.stop(Deadline(1))  # It writes down what it was told.
        assert (await cache.upkeep.stats(TENANT)).threshold == pytest.approx(0.7 + step / 100)
    assert (await cache.upkeep.stats("globex")).threshold == 0.7
    near = "How long does the cheapest postal delivery to the island take?"
    strict, lax = await cache.ask(near), await cache.ask(near, tenant="globex")
    assert strict.outcome is Outcome.MISS
    assert lax.outcome is Outcome.HIT


async def test_feedback_removes_a_wrong_answer_once_and_counts() -> None:
    cache = await CacheParts().start()
    await cache.keep(QUESTION, ANSWER)
    found = await cache.ask(REWORDED)
    assert found.entry is not None
    entry = found.entry.id
    assert not await cache.upkeep.feedback("globex", entry, wrong=True)
    assert not await cache.upkeep.feedback(TENANT, entry, wrong=False)
    assert await cache.upkeep.feedback(TENANT, entry, wrong=True)
    assert not await cache.upkeep.feedback(TENANT, entry, wrong=True)
    assert not await cache.upkeep.feedback(TENANT, "nonsense", wrong=True)
    record = cache.honesty.record(TENANT)
    assert (record.confirmed, record.reported) == (1, 1)
    assert cache.honesty.record("globex").judged == 0
    assert (await cache.ask(QUESTION)).outcome is Outcome.MISS


async def test_a_store_that_is_away_is_said_to_who_manages_entries() -> None:
    cache = await CacheParts().start()
    cache.store.away = True
    with pytest.raises(StoreError):
        await cache.upkeep.invalidate(Selection(TENANT))
    with pytest.raises(StoreError):
        await cache.upkeep.stats(TENANT)


async def test_a_wrong_entry_that_cannot_be_removed_disturbs_nothing() -> None:
    cache = await shadowing().start()
    await cache.keep(QUESTION, ANSWER)
    found = await cache.ask(REWORDED)
    assert found.entry is not None
    held = cache.embedder.held = asyncio.Event()
    cache.embedder.texts.clear()
    storing = asyncio.create_task(cache.keep(REWORDED, DISAGREES, shadow_of=found.entry.id))
    held.set()
    assert await storing == ""
    cache.store.away = True
    await cache.settled()
    assert cache.honesty.record(TENANT).wrong == 1
    assert cache.guard.fault is None


async def test_an_explanation_shows_all_that_a_lookup_would_look_at_and_counts_nothing() -> None:
    cache = await CacheParts(lookups=LookupOptions(shadow_share=1)).start()
    await cache.keep(QUESTION, ANSWER)
    await cache.keep("How long does the delivery of 2 boxes to the island take?", ANSWER)
    explained = await cache.explaining.explain(TENANT, "sim-1", chat(REWORDED))
    assert (explained.found.outcome, explained.found.tier) == (Outcome.HIT, Tier.SEMANTIC)
    assert [each.standing.value for each in explained.judged] == ["served", "below"]
    assert any(each.startswith("number") for each in explained.judged[1].objections)
    assert explained.question == REWORDED
    assert explained.scope["tenant"] == TENANT
    assert explained.thresholds is not None
    assert explained.thresholds.told == 0.92
    exact = await cache.explaining.explain(TENANT, "sim-1", chat(QUESTION))
    assert (exact.found.tier, len(exact.judged)) == (Tier.EXACT, 2)
    assert cache.metric("tidegate_cache_lookup_seconds_count", outcome="hit") == 0


async def test_an_explanation_says_why_there_is_nothing() -> None:
    cache = await CacheParts().start()
    explaining = cache.explaining.explain
    assert (await explaining(TENANT, "sim-1", b"")).found.outcome is Outcome.BYPASS
    assert (await explaining(TENANT, "sim-1", chat("a " * 300))).found.reason == "long_question"
    assert (await explaining(TENANT, "sim-1", chat(QUESTION))).found.reason == "nothing_stored"
    cache.store.away = True
    assert (await explaining(TENANT, "sim-1", chat(QUESTION))).found.reason == "store_away"
