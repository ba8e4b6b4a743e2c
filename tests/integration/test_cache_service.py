"""The cache over gRPC, with the built-in model. Who lost this would be served somebody else's
answer, or a deleted one, or would have a job fail because of the cache."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.cache_parts import MODEL, TABLE, TENANT, WordsEmbedder, chat, says
from tests.support.cache_world import CacheWorld, until
from tests.support.gateway_world import refused
from tests.support.nats_server import NatsServer
from tidegate.cache.app import Outside
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.contracts.jobs import new_job_id
from tidegate.v1 import cache_pb2 as pb

QUESTION = "How do I reset my password?"
REWORDED = "How can I reset my password?"
MONDAY = "When does the shop open on Monday?"
TUESDAY = "When does the shop open on Tuesday?"
ANSWER = "Open the settings and choose Security."
HIT, MISS, BYPASS = pb.LOOKUP_OUTCOME_HIT, pb.LOOKUP_OUTCOME_MISS, pb.LOOKUP_OUTCOME_BYPASS


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[CacheWorld]:
    async with CacheWorld(nats_server, tmp_path) as made:
        yield made


def missed(found: Any) -> str:
    assert found.outcome == MISS
    assert len(found.key) == 64
    assert not found.HasField("answer")
    return str(found.reason)


async def test_the_same_question_is_answered_again_with_where_it_comes_from(
    world: CacheWorld,
) -> None:
    job = new_job_id()
    first = await world.lookup(QUESTION)
    assert missed(first) == "nothing_stored"
    assert (await world.store(QUESTION, ANSWER, job_id=job)).stored
    found = await world.lookup(f" {QUESTION} ")
    assert (found.outcome, found.tier, found.key) == (HIT, pb.CACHE_TIER_EXACT, first.key)
    assert not found.HasField("score")
    answer = found.answer
    assert (answer.text, answer.finish_reason, answer.job_id) == (ANSWER, "stop", job)
    assert (answer.upstream_model, answer.input_tokens, answer.output_tokens) == ("upstream", 3, 5)
    assert answer.cost_nano_usd == 700
    assert answer.created_at.seconds > 1_700_000_000
    assert answer.entry_id


async def test_a_reworded_question_is_answered_and_a_look_alike_is_not(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    await world.store(MONDAY, "At nine.")
    found = await world.lookup(REWORDED)
    assert (found.outcome, found.tier) == (HIT, pb.CACHE_TIER_SEMANTIC)
    assert 0.91 < found.score < 1
    assert found.answer.text == ANSWER
    assert missed(await world.lookup(TUESDAY)) == "guarded"
    assert missed(await world.lookup("What is the capital of Mongolia?")) == "below"
    metrics = await world.metrics()
    hit = 'tidegate_cache_lookups_total{outcome="hit",reason="",tier="semantic"} 1.0'
    assert hit in metrics.splitlines()
    assert TENANT not in metrics


async def test_nothing_crosses_to_another_tenant_model_talk_or_parameter(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    for question in (QUESTION, REWORDED):
        others = [
            await world.lookup(question, tenant="stranger"),
            await world.lookup(question, model="sim-2"),
            await world.lookup(says("system", "Be brief."), question),
            await world.lookup("Hello", says("assistant", "Hi"), question),
            await world.lookup(question, max_tokens=5),
        ]
        assert [missed(each) for each in others] == ["nothing_stored"] * 5
        assert len({each.key for each in others}) == 5


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unreadable"),
        (bytes(range(256)), "unreadable"),
        (chat("x" * 1_000_000), "too_long"),
        (chat(" "), "empty"),
        (chat(QUESTION, temperature=1), "temperature"),
        (chat(QUESTION, metadata={"tidegate_cache": "no-store"}), "no_store"),
    ],
)
async def test_what_cannot_be_cached_is_passed_by(
    world: CacheWorld, body: bytes, reason: str
) -> None:
    request = pb.LookupRequest(tenant=TENANT, model=MODEL, chat_json=body)
    found = await world.fleet.call("Lookup", request)
    assert (found.outcome, found.reason, found.key) == (BYPASS, reason, "")
    answer = pb.CachedAnswer(text=ANSWER, finish_reason="stop", job_id=new_job_id())
    store = pb.StoreRequest(tenant=TENANT, model=MODEL, chat_json=body, answer=answer)
    assert (await world.fleet.call("Store", store)).reason == reason


@pytest.mark.parametrize(
    "question",
    [
        "\U0001f30a\U0001f468\u200d\U0001f469\u200d\U0001f467 why?",
        "почему прилив 潮はなぜ遅い لماذا المد why late",
        "t" + "\u0301" * 1_000,
        "\u202eetal edit eht si yhw\u202c",
        "\x00\x01\x02",
        "?",
        "'; DROP TABLE entries; --",
    ],
)
async def test_any_question_is_found_again(world: CacheWorld, question: str) -> None:
    missed(await world.lookup(question))
    assert (await world.store(question, ANSWER)).stored
    assert (await world.lookup(question)).outcome == HIT
    missed(await world.lookup(question + " and the moon?"))


async def test_who_may_do_what(world: CacheWorld) -> None:
    lookup = pb.LookupRequest(tenant=TENANT, model=MODEL, chat_json=chat(QUESTION))
    explain = pb.ExplainRequest(model=MODEL, chat_json=chat(QUESTION))
    elsewhere = pb.InvalidateRequest(everything=True, tenant="stranger")
    code = grpc.StatusCode
    for client, method, request, status in [
        (world.nobody, "Lookup", lookup, code.UNAUTHENTICATED),
        (world.acme, "Lookup", lookup, code.PERMISSION_DENIED),
        (world.acme, "Store", pb.StoreRequest(tenant=TENANT), code.PERMISSION_DENIED),
        (world.fleet, "Lookup", pb.LookupRequest(), code.INVALID_ARGUMENT),
        (world.fleet, "Lookup", pb.LookupRequest(tenant="a.b"), code.INVALID_ARGUMENT),
        (world.fleet, "Explain", explain, code.UNAUTHENTICATED),
        (world.fleet, "GetStats", pb.GetStatsRequest(), code.UNAUTHENTICATED),
        (world.nobody, "Explain", explain, code.UNAUTHENTICATED),
        (world.acme, "Invalidate", elsewhere, code.PERMISSION_DENIED),
        (world.fleet, "Invalidate", pb.InvalidateRequest(everything=True), code.INVALID_ARGUMENT),
        (world.acme, "Invalidate", pb.InvalidateRequest(), code.INVALID_ARGUMENT),
        (world.acme, "ReportFeedback", pb.ReportFeedbackRequest(), code.INVALID_ARGUMENT),
    ]:
        error = await refused(client.call(method, request))
        assert error.code() is status, (method, request)
        assert from_rpc_error(error).reason is not Reason.INTERNAL


async def test_an_explanation_shows_scope_scores_rules_and_verdict(world: CacheWorld) -> None:
    job = new_job_id()
    await world.store(MONDAY, "At nine.", job_id=job)
    request = pb.ExplainRequest(model=MODEL, chat_json=chat(TUESDAY))
    told = await world.acme.call("Explain", request)
    assert (told.outcome, told.reason, told.question) == (MISS, "guarded", TUESDAY)
    assert told.scope["tenant"] == TENANT
    assert told.threshold == 0.92
    assert 0.90 < told.embedder_threshold < 0.92
    (candidate,) = told.candidates
    assert (candidate.question, candidate.verdict, candidate.job_id) == (MONDAY, "guarded", job)
    assert any("tuesday" in objection for objection in candidate.objections)
    assert candidate.age.ToTimedelta() < timedelta(minutes=1)
    strangers = await world.stranger.call("Explain", request)
    assert (strangers.reason, list(strangers.candidates)) == ("nothing_stored", [])


async def test_entries_are_removed_by_all_that_is_named_and_only_ones_own(
    world: CacheWorld,
) -> None:
    job = new_job_id()
    await world.store(QUESTION, ANSWER, job_id=job)
    await world.store(MONDAY, "At nine.")
    await world.store(MONDAY, "At nine.", model="sim-2")
    await world.store(QUESTION, ANSWER, tenant="stranger", job_id=job)
    entry = (await world.lookup(QUESTION)).answer.entry_id
    assert await world.invalidate(entry_id="no such entry") == 0
    assert await world.invalidate(world.stranger, entry_id=entry) == 0
    assert await world.invalidate(older_than=Duration(seconds=3600)) == 0
    assert await world.invalidate(entry_id=entry, model="sim-2") == 0
    assert await world.invalidate(entry_id=entry) == 1
    await world.store(QUESTION, ANSWER, job_id=job)
    assert await world.invalidate(world.fleet, tenant=TENANT, job_id=job) == 1
    assert await world.invalidate(model="sim-2") == 1
    assert await world.invalidate(older_than=Duration()) == 1
    await world.store(QUESTION, ANSWER)
    assert await world.invalidate(everything=True) == 1
    assert (await world.stats()).entries == 0
    assert (await world.stats(world.stranger)).entries == 1
    assert missed(await world.lookup(REWORDED)) == "nothing_stored"


async def test_the_answer_of_a_deleted_job_does_not_come_back(world: CacheWorld) -> None:
    job = new_job_id()
    await world.invalidate(world.fleet, tenant=TENANT, job_id=job)
    late = await world.store(QUESTION, ANSWER, job_id=job)
    assert (late.stored, late.reason) == (False, "deleted")
    missed(await world.lookup(QUESTION))


async def test_feedback_removes_what_is_wrong_and_is_told(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    entry = (await world.lookup(REWORDED)).answer.entry_id

    async def feedback(*, wrong: bool, client: Any = None) -> bool:
        request = pb.ReportFeedbackRequest(entry_id=entry, wrong=wrong)
        return bool((await (client or world.acme).call("ReportFeedback", request)).removed)

    assert not await feedback(wrong=True, client=world.stranger)
    assert not await feedback(wrong=False)
    assert await feedback(wrong=True)
    assert not await feedback(wrong=True)
    missed(await world.lookup(QUESTION))
    stats = await world.stats()
    assert (stats.entries, stats.shadowed, stats.wrong) == (0, 0, 1)
    assert 0 < stats.wrong_low < 0.5 < stats.wrong_high < 1
    assert not (await world.stats(world.stranger)).HasField("wrong_low")


async def test_statistics_say_what_is_kept_and_how(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    stats = await world.stats()
    assert (stats.entries, stats.store) == (1, "embedded")
    assert stats.embedder.startswith("minilm-int8-")
    assert (stats.threshold_set, stats.threshold) == (0.92, 0.92)
    assert (stats.shadowed, stats.wrong) == (0, 0)


async def test_the_oldest_make_room_and_are_counted(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    brought = Outside(embedder=WordsEmbedder(), calibration=TABLE)
    async with CacheWorld(nats_server, tmp_path, outside=brought, cache_max_entries=100) as world:
        for number in range(102):
            await world.store(f"Where is parcel {number}?", ANSWER)

        async def evicted() -> bool:
            gone = "tidegate_cache_evicted_total 0.0"
            return gone not in (await world.metrics()).splitlines()

        await until(evicted)
        assert (await world.stats()).entries <= 100
        missed(await world.lookup("Where is parcel 0?"))
        assert (await world.lookup("Where is parcel 101?")).tier == pb.CACHE_TIER_EXACT


async def test_a_restart_loses_nothing(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    await world.restart()
    assert (await world.lookup(QUESTION)).tier == pb.CACHE_TIER_EXACT
    assert (await world.lookup(REWORDED)).tier == pb.CACHE_TIER_SEMANTIC


async def test_many_who_ask_at_once_are_all_answered(world: CacheWorld) -> None:
    await world.store(QUESTION, ANSWER)
    asked = [world.lookup(REWORDED if number % 2 else QUESTION) for number in range(100)]
    found = await asyncio.gather(*asked)
    assert {each.answer.text for each in found} == {ANSWER}
