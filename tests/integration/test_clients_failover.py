"""Two providers behind three workers, and what a stock client sees while one of them fails.

What is at stake: an answer that is half of one provider's and half of the other's, a provider that
is beaten down by retries just as it comes up, and one that is never asked again.
"""

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio

from tests.support.failover import TOKENS, Provider, TwoProviders, gathered, messages

# On one event loop, for a process belongs to the loop that started it, and the first is revived.
pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="session")]


_TOLD = {str, openai.RateLimitError, openai.InternalServerError}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoProviders]:
    async with TwoProviders(tmp_path_factory.mktemp("two")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def world(shared_world: TwoProviders) -> TwoProviders:
    await shared_world.reset()
    return shared_world


async def started(provider: Provider) -> int:
    number: int = (await provider.control.settled())["started"]
    return number


async def until_quiet(provider: Provider) -> None:
    before = -1
    while before != (now := await started(provider)):
        before = now
        await asyncio.sleep(0.3)


async def test_one_is_killed_and_the_other_answers_until_it_is_back(world: TwoProviders) -> None:
    assert await world.ask("before") == world.first.says("before")
    embedded = await world.embed("tide")
    await world.first.kill()
    assert await world.embed("tide") == embedded
    questions = [f"while it is away {number}" for number in range(30)]
    answers = await asyncio.gather(*(world.ask(question) for question in questions))
    assert answers == [world.second.says(question) for question in questions]
    stats = await world.second.control.settled()
    assert stats["started_by_endpoint"] == {"chat": len(questions), "embeddings": 1}
    await world.first.revive()
    async with asyncio.timeout(90):
        while await world.ask("again") != world.first.says("again"):
            await asyncio.sleep(0.2)


async def test_a_first_token_that_does_not_come_is_fetched_elsewhere(world: TwoProviders) -> None:
    await world.first.control.fault(ttft=600, model="sim-silent")
    async with world.client() as client:
        stream = await client.chat.completions.create(
            model="sim-silent", messages=messages("silent"), max_tokens=TOKENS, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == world.second.says("silent")
    stats = await world.first.control.settled()
    assert (stats["started"], stats["aborted"]) == (1, 1)


async def test_a_stall_amid_the_answer_never_mixes_two_answers(world: TwoProviders) -> None:
    """In one piece it is the other's whole answer; a stream that showed a beginning says so."""
    await world.first.control.fault(stall_after=4, stall_s=600, model="sim-stalled")
    shown: list[str] = []

    async def stream() -> None:
        async with world.client() as client:
            async for chunk in await client.chat.completions.create(
                model="sim-stalled", messages=messages("torn"), max_tokens=TOKENS, stream=True
            ):
                shown.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - as they came

    whole, torn = await gathered(world.ask("whole", model="sim-stalled"), stream())
    assert whole == world.second.says("whole")
    assert isinstance(torn, openai.APIError)
    assert torn.code == "answer_changed"
    assert "".join(shown) == world.first.says("torn", 4)


async def test_a_stream_goes_on_silently_where_the_words_agree(world: TwoProviders) -> None:
    """The next call is to the same provider, which says the same again."""
    await world.first.control.fault(cut_after=5, calls=1, model="sim-same")
    async with world.client() as client:
        stream = await client.chat.completions.create(
            model="sim-same", messages=messages("again"), max_tokens=TOKENS, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == world.first.says("again")
    assert await started(world.first) == 2


async def test_a_provider_that_limits_is_left_alone_and_then_asked_by_one(
    world: TwoProviders,
) -> None:
    """Three workers have jobs for it all the time. While its breaker is open none of them calls;
    then one does, and the others wait for what comes of that."""
    await world.first.control.fault(fail=429, retry_after=3, model="sim-alone")
    flood = [world.ask(f"flood {number}", model="sim-alone") for number in range(30)]
    asking = asyncio.create_task(gathered(*flood))
    await world.until_open("sim-alone")
    # Whoever was let through before may be on the way still; behind those nobody is.
    await until_quiet(world.first)
    await world.first.control.clear()
    await world.first.control.fault(ttft=2, calls=1, model="sim-alone")
    answers = await asking
    # Whoever would wait too long is told so; openai-py comes back when it is told to.
    assert {type(each) for each in answers} <= _TOLD
    late = [world.ask(f"late {number}", model="sim-alone", max_retries=10) for number in range(6)]
    assert all(isinstance(each, str) for each in await gathered(*late))
    calls = (await world.first.control.settled())["calls"]
    refused = [call for call in calls if call["kind"] == "429"]
    assert len(refused) <= len(flood) + 3
    probe, *others = [call for call in calls if call["kind"] is None]
    assert probe["started"] + 2 <= min(call["started"] for call in others)
