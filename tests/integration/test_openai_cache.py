"""Answers from the cache, seen from every surface: each says where they came from.

No cache runs here: a worker is played that had an answer of it, and writes the log of a hit.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.chunk_logs import DONE, entries
from tests.support.clients import Node
from tests.support.gateway_world import CHAT, GatewayWorld
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.openai_door import (
    STREAM,
    URL,
    answering,
    failing,
    hitting,
    playing,
    text_of,
)
from tidegate.contracts.events import AttemptStarted, CacheMark, Delta, Failed
from tidegate.gateway.app import Gateway
from tidegate.gateway.openai.chunks import Chunks
from tidegate.gateway.openai.completion import WholeCompletion
from tidegate.v1 import jobs_pb2 as pb

SOURCE = "job_" + "s" * 26
EXACT = CacheMark("exact", None, 90_250, SOURCE, "entry-1")
SEMANTIC = CacheMark("semantic", 0.953, 90_250, SOURCE, "entry-1")
COALESCED = CacheMark("coalesced", source=SOURCE)
HEADERS = {
    "exact": {"x-tidegate-cache": "exact", "x-tidegate-cache-age": "90"},
    "semantic": {
        "x-tidegate-cache": "semantic",
        "x-tidegate-cache-score": "0.953",
        "x-tidegate-cache-age": "90",
    },
    "coalesced": {"x-tidegate-cache": "coalesced"},
    "miss": {"x-tidegate-cache": "miss"},
}
MEMBER = {"cache": "semantic", "score": 0.953, "age": 90}
NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    """Its gateway's headers wait for the first word, however long that takes."""
    async with GatewayWorld(nats_server, tmp_path, stream_headers_seconds=60.0) as world:
        yield world


@pytest.fixture
async def hasty(world: GatewayWorld) -> Gateway:
    """A second gateway, whose headers wait for next to nothing."""
    return await world.start_gateway(stream_headers_seconds=0.1)


def said(response: aiohttp.ClientResponse) -> dict[str, str]:
    """What the headers say of the cache."""
    named = {name.lower(): value for name, value in response.headers.items()}
    return {name: value for name, value in named.items() if name.startswith("x-tidegate-cache")}


def chunks_of(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


@pytest.mark.parametrize("mark", [EXACT, SEMANTIC, COALESCED, CacheMark()])
@pytest.mark.parametrize("body", [CHAT, STREAM | {"stream_options": {"include_usage": True}}])
async def test_headers_say_where_an_answer_comes_from(
    world: GatewayWorld, mark: CacheMark, body: dict[str, Any]
) -> None:
    """The attempt's first event says it, which is stored before any word is."""
    worker = asyncio.create_task(hitting(world, mark, "Hel", "lo"))
    async with world.http.post(URL, json=body) as response:
        assert said(response) == HEADERS[mark.tier]
        lines = [line async for line in response.content]
    await worker
    if body is CHAT:
        frames = [json.loads(lines[0])]
        assert frames[0]["choices"][0]["message"]["content"] == "Hello"
    else:
        frames = chunks_of(lines)
        assert text_of(lines) == "Hello"
    assert not any("tidegate" in frame for frame in frames)
    usage = frames[-1]["usage"]
    assert usage | NO_TOKENS == usage, "a hit used nothing"


async def test_a_stream_whose_headers_could_not_wait_says_it_in_its_last_chunk(
    world: GatewayWorld, hasty: Gateway
) -> None:
    async with world.client(hasty, world.key) as http, http.post(URL, json=STREAM) as response:
        assert said(response) == {}
        worker = asyncio.create_task(hitting(world, SEMANTIC, "Hel", "lo"))
        lines = [line async for line in response.content]
    await worker
    assert text_of(lines) == "Hello"
    *others, last = chunks_of(lines)
    assert (last["choices"][0]["finish_reason"], last["tidegate"]) == ("stop", MEMBER)
    assert not any("tidegate" in chunk for chunk in others)
    assert lines[-2:] == [b"data: [DONE]\n", b"\n"]


async def test_the_last_attempt_counts_as_long_as_headers_can_say_it(world: GatewayWorld) -> None:
    """The first one was lost before it said a word."""
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(world.http.post(URL, json=STREAM).__aenter__())
        job_id, _ = await playing(world, cache=CacheMark())
        queued = await world.queued(job_id)
        second = await world.peer.start_attempt(queued, worker="w2", cache=COALESCED)
        second.emit(Delta("followed"))
        await second.seal(completed())
        async with await asking as response:
            assert said(response) == HEADERS["coalesced"]
            assert text_of([line async for line in response.content]) == "followed"


async def test_who_asks_again_under_the_same_key_is_told_the_same(world: GatewayWorld) -> None:
    headers = {"Idempotency-Key": "one"}
    worker = asyncio.create_task(hitting(world, SEMANTIC, "Hello"))
    for body in (CHAT, STREAM, CHAT):
        async with world.http.post(URL, json=body, headers=headers) as response:
            assert said(response) == HEADERS["semantic"]
            await response.read()
    await worker


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_what_is_no_answer_comes_from_nowhere(
    world: GatewayWorld, body: dict[str, Any]
) -> None:
    worker = asyncio.create_task(failing(world, Failed("PROVIDER_REFUSED", "no")))
    async with world.http.post(URL, json=body) as response:
        assert (response.status, said(response)) == (400, {})
    await worker


async def test_the_job_and_its_events_say_it_too(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    await hitting(world, SEMANTIC, "Hello")
    shown = await world.get(job_id)
    mark = {"tier": "semantic", "score": 0.953, "age_ms": 90_250}
    assert shown["cache"] == mark | {"source": SOURCE, "entry": "entry-1"}
    assert (shown["cost"], shown["saved"]) == ({"nano_usd": 0}, {"nano_usd": 63_000})
    job = (await world.rpc.call("GetJob", pb.GetJobRequest(job_id=job_id))).job
    request = pb.StreamJobEventsRequest(job_id=job_id)
    events = [answer.event async for answer in world.rpc.stream(request)]
    assert events[0].attempt_started.cache == job.cache
    assert (job.cache.tier, job.cache.score) == (pb.ANSWER_TIER_SEMANTIC, 0.953)
    assert job.cache.age.ToMilliseconds() == 90_250
    assert events[-1].completed.saved_nano_usd == job.saved_nano_usd == 63_000
    async with world.http.get("/v1/jobs") as response:
        [listed] = (await response.json())["jobs"]
    assert (listed["cache"], listed["saved"]) == (None, {"nano_usd": 63_000})


async def test_a_job_that_the_model_answered_saved_nothing(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    assert (await world.get(job_id))["saved"] is None
    await answering(world, "Hello")
    shown = await world.get(job_id)
    assert (shown["cache"], shown["saved"]) == (None, {"nano_usd": 0})


async def test_openai_py_reads_the_headers_and_the_last_chunk(
    world: GatewayWorld, hasty: Gateway
) -> None:
    """Strict about every field: it must take one that OpenAI does not have."""
    async with openai.AsyncOpenAI(
        base_url=f"http://{world.gateway.http.address}/v1",
        api_key=world.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        create: Any = client.chat.completions.with_raw_response.create
        worker = asyncio.create_task(hitting(world, EXACT, "Hello"))
        raw = await create(**CHAT)
        assert (raw.headers["x-tidegate-cache"], raw.headers["x-tidegate-cache-age"]) == (
            "exact",
            "90",
        )
        assert raw.parse().choices[0].message.content == "Hello"
        await worker
        there = client.with_options(base_url=f"http://{hasty.http.address}/v1")
        late = await there.chat.completions.with_raw_response.create(**STREAM)
        assert "x-tidegate-cache" not in late.headers
        worker = asyncio.create_task(hitting(world, SEMANTIC, "Hello", after=1))
        chunks = [chunk async for chunk in late.parse()]
        await worker
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    assert chunks[-1].model_extra["tidegate"] == MEMBER


def served(*, stream: bool) -> bytes:
    """A hit as the door sends it; as a stream with headers that had to go before it was known."""
    log = entries([AttemptStarted(1, "w", cache=SEMANTIC), Delta("Hel"), Delta("lo"), DONE])
    if stream:
        chunks = Chunks(SOURCE, "m", 0, include_usage=True, keyed=False)
        assert chunks.headers() == {}
        return b": hb\n" + b"".join(chunks.take(entry) for entry in log)
    whole = WholeCompletion(SOURCE, "m", 0, keyed=False)
    for entry in log:
        whole.take(entry)
    return whole.body()


async def test_the_javascript_clients_take_such_a_last_chunk(node_clients: Node) -> None:
    async def answer(request: web.Request) -> web.Response:
        stream = bool((await request.json()).get("stream"))
        kind = "text/event-stream" if stream else "application/json"
        return web.Response(body=served(stream=stream), content_type=kind)

    assert b'"tidegate":{"cache":"semantic"' in served(stream=True)
    app = web.Application()
    app.router.add_post(URL, answer)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        told = [
            json.loads(await node_clients.run(script, "answers", "{}", TIDEGATE_URL=url))
            for script in ("openai.mjs", "ai.mjs")
        ]
    assert told[0]["whole"]["choices"][0]["message"]["content"] == told[0]["text"] == "Hello"
    assert told[0]["usage"][-1]["completion_tokens"] == DONE.usage.output_tokens
    assert (told[1]["texts"], told[1]["errors"]) == (["Hello", "Hello"], 0)
    assert told[1]["reasons"] == ["stop", "stop"]
