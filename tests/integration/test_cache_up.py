"""Repeated questions under `tidegate up`, as a new user meets them: each costs once, and no job is
lost because of the cache."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.support.platform import Platform
from tests.support.processes import ROOT

pytestmark = pytest.mark.timeout(180)
_KILLS = 3
_KEY = {"Authorization": "Bearer tidegate-dev"}
_QUICK = {
    "TIDEGATE_SIMULATOR_TTFT_SECONDS": "0.05",
    "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": "80",
    # On a busy machine a lookup that comes late would be a miss.
    "TIDEGATE_CACHE_LOOKUP_SECONDS": "5",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with Platform(tmp_path_factory.mktemp("cached"), settings=_QUICK) as running:
        yield running


class Answer(NamedTuple):
    """Where an answer came from, what it is, and the job that asked for it."""

    tier: str
    text: str
    job: str


@pytest.fixture
async def cached(shared_cache: Platform) -> Platform:
    """A platform with its cache, which its worker has found, and nothing in it."""
    for name in ("cache health", "worker health", "gateway health"):
        await shared_cache.until_ready(name)
    async with aiohttp.ClientSession(shared_cache.url, headers=_KEY) as client:
        # A worker that began before the cache finds it within two seconds.
        await until_exact(client, "Ready?")
    emptied = await shared_cache.tidegate("cache", "invalidate", "--all", "--yes")
    assert emptied.status == 0, emptied.stderr
    return shared_cache


@pytest.fixture
async def session(cached: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cached.url, headers=_KEY) as client:
        yield client


async def ask(session: aiohttp.ClientSession, question: str) -> Answer:
    """A chat completion, which has to come out whole."""
    body = {"model": "sim-small", "messages": [{"role": "user", "content": question}]}
    async with session.post("/v1/chat/completions", json=body) as response:
        completion = await response.json()
        assert response.status == 200, completion
        headers = response.headers
    [choice] = completion["choices"]
    assert choice["finish_reason"] == "stop"
    text = choice["message"]["content"]
    return Answer(headers["x-tidegate-cache"], text, headers["x-tidegate-job"])


async def asks(session: aiohttp.ClientSession, *questions: str) -> list[str]:
    """Where each answer came from, one asked after the other."""
    return [(await ask(session, question)).tier for question in questions]


async def until_exact(session: aiohttp.ClientSession, question: str) -> Answer:
    """Asks until the answer is kept: before that, it is called for, or followed (coalesced)."""
    while (answer := await ask(session, question)).tier != "exact":
        pass
    return answer


async def told(platform: Platform, *command: str) -> Any:
    """What a command of the cache prints for programs."""
    done = await platform.tidegate("cache", *command, "--json")
    assert done.status == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_readmes_questions_are_answered_from_where_it_says(cached: Platform) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.split("## Repeated questions")[1].split("\n## ")[0]
    questions = re.findall(r'^    \.venv/bin/tidegate ask "(.*)"$', section, re.M)
    done = [await cached.tidegate("ask", question) for question in questions]
    assert [each.status for each in done] == [0] * 4, done
    tiers = [re.findall(r" cache=(\w+)", each.stderr.splitlines()[-1]) for each in done]
    assert tiers == [["miss"], ["exact"], ["semantic"], ["miss"]]
    texts = [each.stdout for each in done]
    assert texts[0] == texts[1] == texts[2] != texts[3]
    [explained] = re.findall(r'^    \.venv/bin/tidegate cache explain "(.*)"$', section, re.M)
    shown = await told(cached, "explain", explained)
    assert (shown["outcome"], shown["reason"]) == ("miss", "guarded")
    near = [each["verdict"] for each in shown["candidates"]]
    assert near == ["guarded"] * 2
    shown = await told(cached, "explain", questions[3])
    assert (shown["outcome"], shown["tier"]) == ("hit", "exact")


async def test_a_question_is_explained_before_it_costs_anything(
    cached: Platform, session: aiohttp.ClientSession
) -> None:
    await ask(session, "How do I reset my password?")
    page = await cached.tidegate("cache", "explain", "How do I reset my password on Monday?")
    assert page.status == 0, page.stderr
    assert "verdict    miss" in page.stdout
    assert "How do I reset my password?" in page.stdout
    assert "model           sim-small" in page.stdout
    shown = await told(cached, "explain", "How can I reset my password?")
    assert (shown["outcome"], shown["tier"]) == ("hit", "semantic")
    assert await asks(session, "How can I reset my password?") == ["semantic"]
    options = ("--system", "Be brief.", "--max-tokens", "7")
    shown = await told(cached, "explain", *options, "How do I reset my password?")
    assert (shown["outcome"], shown["candidates"]) == ("miss", [])


async def test_a_wrong_answer_is_served_no_more(
    cached: Platform, session: aiohttp.ClientSession
) -> None:
    question = "Who keeps the lock?"
    first, hit = await ask(session, question), await until_exact(session, question)
    assert (await told(cached, "stats"))["entries"] == 1
    judged = await cached.tidegate("cache", "feedback", "--job", hit.job, "--wrong")
    assert (judged.status, judged.stderr.split()[-1]) == (0, "removed=yes")
    assert await asks(session, question) == ["miss"]
    miss = await cached.tidegate("cache", "feedback", "--job", first.job, "--wrong")
    assert miss.status == 1
    assert "no entry of the cache" in miss.stderr


async def test_a_deleted_jobs_answer_is_gone_with_it(session: aiohttp.ClientSession) -> None:
    question = "Who mends the sluice?"
    job = (await ask(session, question)).job
    await until_exact(session, question)
    async with session.delete(f"/v1/jobs/{job}") as response:
        assert response.status == 204
    assert await asks(session, question) == ["miss"]
    await until_exact(session, question)


async def test_no_job_is_lost_when_the_cache_is_killed_again_and_again(
    cached: Platform, session: aiohttp.ClientSession
) -> None:
    """Half of the questions are repeats: hits, misses and those in mid-air are met alike."""
    questions = [f"What does gate number {number // 2} hold back?" for number in range(40)]
    slots = asyncio.Semaphore(8)

    async def killing() -> None:
        for _ in range(_KILLS):
            while not (victims := cached.pids_of("cache")):
                await asyncio.sleep(0.02)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            # Its successor is met while it loads, and at work.
            await asyncio.sleep(0.5)

    async def one(question: str) -> str:
        async with slots:
            return (await ask(session, question)).text

    _, *texts = await asyncio.gather(killing(), *map(one, questions))
    assert texts[::2] == texts[1::2], "who asks the same is answered the same"
    await cached.until_ready("cache health")
    # Workers that had it fail rest for a moment; then they ask it again, by themselves.
    await until_exact(session, "Is it back?")


async def test_a_killed_workers_question_is_answered_whole(cached: Platform) -> None:
    """The call that it made for all who ask the same is taken over."""
    question = "When is high tide on Sunday?"
    asking = [await cached.spawn("ask", question) for _ in range(2)]
    assert asking[0].stdout is not None
    beginning = await asking[0].stdout.read(1)
    await cached.kill("worker")
    (rest, errors), (other, more) = await asyncio.gather(
        *(process.communicate() for process in asking)
    )
    assert [process.returncode for process in asking] == [0, 0], (errors, more)
    assert beginning + rest == other
