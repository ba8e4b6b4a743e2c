"""A provider's embeddings model for the cache: what it may do wrong, and how little it may cost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from tests.support.breaker_fleet import Member, fleet
from tests.support.log_world import LogWorld, wait_until
from tests.support.nats_server import NatsServer
from tests.support.provider_world import Script, answering, scripted
from tests.support.simulated import SimulatedProvider
from tidegate.cache.embedders.remote import RemoteEmbedder
from tidegate.cache.embedders.shared import SharedEmbedder
from tidegate.cache.embedding import EmbedderError
from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import SettingsError
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.events import Usage
from tidegate.providers.embedding_calls import EmbeddingCalls
from tidegate.providers.routes import Route, Routes, Target

MODEL = "embed"
DIMENSION = 64


def routes_to(*targets: Target) -> Routes:
    return Routes({MODEL: Route(MODEL, "embeddings", "", targets)})


def always(routes: Routes) -> Callable[[], Routes]:
    return lambda: routes


def target_at(url: str, *, model: str = "sim-embedding", **fields: Any) -> Target:
    return Target("sim", f"{url}/v1", model, **fields)


def embedder_of(member: Member, routes: Callable[[], Routes], **options: Any) -> RemoteEmbedder:
    calls = EmbeddingCalls(member.caller, member.clients, Tracing())
    return RemoteEmbedder(MODEL, routes=routes, calls=calls, guard=member.guard, **options)


@contextlib.asynccontextmanager
async def started(embedder: RemoteEmbedder | SharedEmbedder) -> AsyncIterator[None]:
    await embedder.start()
    try:
        yield
    finally:
        await embedder.stop(Deadline(1))


def knows(embedder: RemoteEmbedder) -> bool:
    with contextlib.suppress(EmbedderError):
        return embedder.dimension > 0
    return False


async def refused(embedder: RemoteEmbedder, text: str = "the tide") -> EmbedderError:
    with pytest.raises(EmbedderError) as caught:
        await embedder.embed([text])
    assert text not in str(caught.value)
    return caught.value


class Sim(SimulatedProvider):
    """The simulator, which can misbehave at embeddings."""

    def __init__(self) -> None:
        super().__init__(embedding_dimensions=DIMENSION)

    async def embeddings_fault(self, **fault: Any) -> None:
        await self.fault(endpoint="embeddings", **fault)

    async def calls(self) -> int:
        return int((await self.stats())["started"])


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    async with Sim() as made:
        yield made


@pytest.fixture
async def member(world: LogWorld, nats_server: NatsServer) -> AsyncIterator[Member]:
    del world  # Breakers need its streams.
    async with fleet(nats_server.url, 1, open=60.0) as (made,):
        yield made


async def test_texts_have_vectors_of_length_one_in_their_order(sim: Sim, member: Member) -> None:
    used: list[Usage] = []
    embedder = embedder_of(
        member,
        lambda: routes_to(target_at(sim.url)),
        on_usage=lambda target, usage: used.append(usage),
    )
    async with started(embedder):
        await wait_until(lambda: knows(embedder))
        texts = ["why is the tide late", "why is the tide so late", "a wholly other thing"]
        question, alike, other = await embedder.embed(texts)
        assert np.array_equal(question, (await embedder.embed(texts[:1]))[0])
    assert embedder.dimension == DIMENSION
    assert float(np.linalg.norm(question)) == pytest.approx(1.0, abs=1e-5)
    assert question @ alike > question @ other
    assert all(each.input_tokens > 0 for each in used)


async def test_its_space_is_named_by_provider_model_and_dimension(sim: Sim, member: Member) -> None:
    """Vectors of two models in one collection would be compared with each other."""
    targets = [
        target_at(sim.url),
        target_at(sim.url, model="other"),
        Target("elsewhere", sim.url, "sim-embedding"),
    ]
    names = {
        embedder_of(member, always(routes_to(each)), dimension=dimension).fingerprint
        for each in targets
        for dimension in (64, 65)
    }
    moved = target_at("http://127.0.0.1:1")
    assert len(names) == 6
    assert embedder_of(member, lambda: routes_to(moved), dimension=64).fingerprint in names


async def test_a_provider_that_is_down_at_the_start_is_learnt_of_later(
    sim: Sim, member: Member
) -> None:
    await sim.embeddings_fault(fail=503, calls=1)
    embedder = embedder_of(member, lambda: routes_to(target_at(sim.url)))
    async with started(embedder):
        assert (await refused(embedder)).passing
        with pytest.raises(EmbedderError):
            _ = embedder.fingerprint
        await wait_until(lambda: knows(embedder))
        assert len(await embedder.embed(["the tide"])) == 1


async def test_while_the_breaker_is_open_nobody_is_called_or_waits(
    sim: Sim, member: Member
) -> None:
    """A lookup has 50 ms, and the exact tier works without vectors."""
    target = target_at(sim.url)
    embedder = embedder_of(member, lambda: routes_to(target), dimension=DIMENSION)
    async with started(embedder):
        await member.trip(target)
        async with asyncio.timeout(20):  # It is open for a minute.
            assert (await refused(embedder)).passing
        assert await sim.calls() == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"fail": 503}, id="fails"),
        pytest.param({"fail": 401}, id="does not know the key"),
        pytest.param({"fail": 429, "retry_after": 30}, id="asks for time"),
        pytest.param({"ttft": 600}, id="silent"),
        pytest.param({"cut_after": 0}, id="hangs up"),
    ],
)
async def test_a_failure_is_told_after_one_call_and_opens_the_breaker_in_the_end(
    sim: Sim, member: Member, fault: dict[str, Any]
) -> None:
    target = target_at(sim.url)
    await sim.embeddings_fault(**fault)
    embedder = embedder_of(member, lambda: routes_to(target), dimension=DIMENSION, seconds=0.3)
    async with started(embedder):
        for number in range(1, member.policy.consecutive + 1):
            assert (await refused(embedder)).passing
            assert await sim.calls() <= number
        assert member.is_open(target)


async def test_what_waits_goes_together_and_one_texts_fault_is_its_own(
    sim: Sim, member: Member
) -> None:
    """The simulator refuses an empty text, as OpenAI does, and all that come with it."""
    embedder = embedder_of(
        member, lambda: routes_to(target_at(sim.url)), dimension=DIMENSION, requests=1
    )
    async with started(embedder):
        first = asyncio.create_task(embedder.embed(["first"]))
        texts = [*(f"text {number}" for number in range(30)), ""]
        answers = await asyncio.gather(
            *(embedder.embed([text]) for text in texts), return_exceptions=True
        )
        await first
    assert all(isinstance(answer, list) for answer in answers[:-1])
    assert isinstance(answers[-1], EmbedderError)
    assert not answers[-1].passing
    # One for the first, one for all, and two for each halving around the empty one.
    assert await sim.calls() <= 2 + 2 * 5
    assert not member.is_open(target_at(sim.url))


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "\ud83d why", "\x00\x01\x7f", "\U0001f30a潮 прилив", '"\\\n']
)
async def test_odd_texts_are_sent_as_far_as_they_can_be(
    sim: Sim, member: Member, text: str
) -> None:
    embedder = embedder_of(member, lambda: routes_to(target_at(sim.url)), dimension=DIMENSION)
    async with started(embedder):
        (vector,) = await embedder.embed([text])
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


async def test_who_compares_whole_texts_hears_that_one_is_cut(sim: Sim, member: Member) -> None:
    embedder = embedder_of(
        member, lambda: routes_to(target_at(sim.url)), dimension=DIMENSION, refuse_longer=True
    )
    async with started(embedder):
        assert not (await refused(embedder, "x" * 8_001)).passing
        assert len(await embedder.embed(["x" * 8_000])) == 1


def says(*vectors: str) -> Script:
    """A server that answers any request with these vectors, as JSON."""
    rows = [f'{{"index": {index}, "embedding": {each}}}' for index, each in enumerate(vectors)]
    body = f'{{"data": [{", ".join(rows)}], "usage": {{"prompt_tokens": 1}}}}'
    return answering(body.encode(), content_type="application/json")


@pytest.mark.parametrize(
    ("script", "passing"),
    [
        # The model client does not take these for an answer at all.
        pytest.param(says("[NaN, 1, 2]"), True, id="not a number"),
        pytest.param(says(), True, id="nothing"),
        pytest.param(says("[]"), True, id="no numbers"),
        pytest.param(says('["1", "2", "3"]'), True, id="texts"),
        pytest.param(says("[1, 2, 3]", "[1, 2, 3]"), True, id="one too many"),
        # And these are answers, and no vectors.
        pytest.param(says("[1, 2]"), False, id="another dimension"),
        pytest.param(says("[1e999, 1, 2]"), False, id="infinite"),
        pytest.param(says("[0, 0, 0]"), False, id="zero"),
        pytest.param(says('"AACAPw=="'), False, id="base64"),
    ],
)
async def test_what_is_no_vector_is_none_of_ours(
    member: Member, script: Script, passing: bool
) -> None:
    async with scripted(script, model="m") as server:
        target = target_at(server.url)
        embedder = embedder_of(member, lambda: routes_to(target), dimension=3)
        async with started(embedder):
            assert (await refused(embedder)).passing is passing
        assert server.connections == 1


async def test_another_model_behind_the_route_is_not_taken_for_the_same(
    sim: Sim, member: Member
) -> None:
    now = [routes_to(target_at(sim.url))]
    embedder = embedder_of(member, lambda: now[0], dimension=DIMENSION)
    async with started(embedder):
        await embedder.embed(["the tide"])
        now[0] = routes_to(target_at(sim.url, model="another"))
        assert (await refused(embedder)).passing
        now[0] = Routes({})
        assert (await refused(embedder)).passing
        # Another one in front of it changes nothing, and is not called.
        now[0] = routes_to(target_at("http://127.0.0.1:1", model="another"), target_at(sim.url))
        await embedder.embed(["the tide"])
    assert await sim.calls() == 2


async def test_a_model_that_does_not_embed_is_refused(member: Member) -> None:
    chat = Routes({MODEL: Route(MODEL, "chat", "default", (target_at("http://127.0.0.1:1"),))})
    for routes in (Routes({}), chat):
        with pytest.raises(SettingsError, match=MODEL):
            embedder_of(member, always(routes))


async def test_a_lookup_that_gave_up_leaves_the_vector_for_the_next(
    sim: Sim, member: Member
) -> None:
    """Else a provider that takes longer than a lookup has would be paid, and never of use."""
    remote = embedder_of(member, lambda: routes_to(target_at(sim.url)), dimension=DIMENSION)
    shared = SharedEmbedder(remote, finish=True)
    async with started(shared):
        await sim.embeddings_fault(ttft=0.2, calls=1)
        hasty = asyncio.create_task(shared.embed(["the tide"]))
        await sim.until_started(1)
        hasty.cancel()
        assert len(await shared.embed(["the tide"])) == 1
    assert await sim.calls() == 1


async def test_at_the_end_whoever_waits_is_told(sim: Sim, member: Member) -> None:
    await sim.embeddings_fault(ttft=600)
    embedder = embedder_of(
        member, lambda: routes_to(target_at(sim.url)), dimension=DIMENSION, requests=1, seconds=30
    )
    async with started(embedder):
        waiting = [asyncio.create_task(embedder.embed([text])) for text in ("a", "b")]
        await sim.until_started(1)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(each, EmbedderError) and each.passing for each in answers] == [True, True]
