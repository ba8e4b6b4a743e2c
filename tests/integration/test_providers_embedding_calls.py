"""Calls for embeddings by way of the breakers: who answered, what it used, and how long it took."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from tests.support.breaker_fleet import Member, fleet
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.provider_world import answering, scripted
from tests.support.simulated import SimulatedProvider
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import Reason
from tidegate.providers.calling import INTERACTIVE, Patience
from tidegate.providers.embedding_calls import Embedded, EmbeddingCalls
from tidegate.providers.errors import ProviderError
from tidegate.providers.routes import Target

BODY = msgspec.json.encode({"model": "public", "input": ["the tide", "turns"]})


@pytest.fixture
async def member(world: LogWorld, nats_server: NatsServer) -> AsyncIterator[Member]:
    del world  # Breakers need its streams.
    async with fleet(nats_server.url, 1, open=60.0) as (made,):
        yield made


def target_at(provider: str, url: str) -> Target:
    return Target(provider, f"{url}/v1", "sim-embedding")


async def create(member: Member, targets: Sequence[Target], **options: Any) -> Embedded:
    calls = EmbeddingCalls(member.caller, member.clients, Tracing())
    given: dict[str, Any] = {
        "seconds": 20.0,
        "patience": INTERACTIVE,
        "attempts": 3,
        "headers": {"x-request-id": "req_1"},
    }
    return await calls.create(targets, BODY, **(given | options))


async def test_it_says_who_answered_when_the_first_did_not(member: Member) -> None:
    async with SimulatedProvider() as one, SimulatedProvider() as two:
        await one.fault(endpoint="embeddings", fail=503)
        targets = [target_at("one", one.url), target_at("two", two.url)]
        embedded = await create(member, targets)
    assert embedded.target == targets[1]
    assert len(msgspec.json.decode(embedded.data)) == 2
    assert (embedded.usage.input_tokens > 0, embedded.usage.estimated) == (True, False)


async def test_what_a_provider_does_not_tell_is_estimated(member: Member) -> None:
    answer = b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}'
    async with scripted(answering(answer, content_type="application/json")) as server:
        embedded = await create(member, [target_at("one", server.url)])
    assert (embedded.usage.input_tokens > 0, embedded.usage.estimated) == (True, True)


async def test_it_ends_in_time_whatever_the_provider_does(member: Member) -> None:
    async with SimulatedProvider() as one:
        await one.fault(endpoint="embeddings", ttft=600)
        with pytest.raises(ProviderError) as caught:
            await create(member, [target_at("one", one.url)], seconds=0.2)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert caught.value.retriable


async def test_without_patience_an_open_breaker_is_told_at_once(member: Member) -> None:
    async with SimulatedProvider() as one:
        target = target_at("one", one.url)
        await member.trip(target)
        with pytest.raises(ProviderError) as caught:
            await create(member, [target], patience=Patience(0.0), attempts=1)
        assert (await one.stats())["started"] == 0
    assert caught.value.reason is Reason.CIRCUIT_OPEN
