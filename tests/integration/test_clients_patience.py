"""openai-py loses patience, repeats, goes away: what a user would pay for twice, or never get.

The client repeats by itself what timed out or failed, says only how often it has (no key of its
own), and thinks that the first call is gone. The job is not.
"""

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from tests.support.clients import HEADERS, KEY, Door

pytestmark = pytest.mark.timeout(180)

# What the model takes to its first token, and what a client has patience for.
_SLOW, _PATIENCE = 2.0, 1.0


def question(what: str, **fields: Any) -> dict[str, Any]:
    """A request that no other test makes, for a repeat is known by its body alone."""
    return {
        "model": "sim-slow",
        "messages": [{"role": "user", "content": what}],
        "max_tokens": 8,
    } | fields


async def test_a_client_that_asks_again_gets_the_answer_of_the_first_call(door: Door) -> None:
    await door.simulator.fault(ttft=_SLOW, model="sim-slow")

    async def whole() -> str:
        raw = await create(**question("whole"))
        assert raw.retries_taken > 0
        return str(raw.parse().choices[0].message.content)

    async def streamed() -> str:
        raw = await create(**question("streamed"), stream=True)
        assert raw.retries_taken > 0
        return "".join([chunk.choices[0].delta.content or "" async for chunk in raw.parse()])

    async with door.openai(timeout=_PATIENCE, max_retries=8) as client:
        create: Any = client.chat.completions.with_raw_response.create
        answers = await asyncio.gather(whole(), streamed())
    assert all(answers)
    stats = await door.simulator.settled()
    assert (stats["started"], stats["completed"]) == (2, 2)


async def test_a_client_that_does_not_ask_again_times_out_by_type(door: Door) -> None:
    await door.simulator.fault(ttft=_SLOW, model="sim-slow")
    async with door.openai(timeout=_PATIENCE) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(**question("once"))


async def test_what_failed_is_done_again_when_a_client_asks_again(door: Door) -> None:
    """Two calls are all that a job may make here: the first job fails, and the second does not."""
    await door.simulator.fault(fail=500, calls=2, model="sim-flaky")
    asked = question("flaky", model="sim-flaky")
    async with door.openai(max_retries=2) as client:
        made = await client.chat.completions.create(**asked)
    assert made.choices[0].finish_reason == "length"
    stats = await door.simulator.settled()
    assert (stats["started"], stats["completed"]) == (3, 1)
    assert len({call["job"] for call in stats["calls"]}) == 2


async def test_two_clients_with_the_same_question_have_two_jobs(door: Door) -> None:
    async with door.openai() as client:
        create = client.chat.completions.create
        await asyncio.gather(*(create(**question("both", model="sim-small")) for _ in range(2)))
    stats = await door.simulator.settled()
    assert len({call["job"] for call in stats["calls"]}) == stats["started"] == 2


async def test_a_long_silence_is_filled_with_heartbeats_that_no_client_sees(door: Door) -> None:
    await door.simulator.fault(ttft=HEADERS + _SLOW, model="sim-slow", calls=2)
    asked = question("silence", stream=True)

    async def seen() -> str:
        async with door.openai() as client:
            chunks = await client.chat.completions.create(**asked)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    async def sent() -> bytes:
        url, headers = f"{door.url}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as client,
            client.stream("POST", url, json=asked) as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-accel-buffering"] == "no"
            return b"".join([part async for part in response.aiter_raw()])

    text, body = await asyncio.gather(seen(), sent())
    assert text != ""
    assert body.count(b": hb\n") > 1
    # A blank line would end an event that has not begun, and clients stumble over it.
    assert b": hb\n\n" not in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_whoever_goes_away_ends_the_call_to_the_model(door: Door) -> None:
    """Before the first token and amid them, by closing a stream or by cancelling a task."""
    await door.simulator.fault(ttft=0.1, stall_after=3, stall_s=600, model="sim-stalled")
    await door.simulator.fault(ttft=600, model="sim-slow")
    async with door.openai() as client:
        create = client.chat.completions.create
        chunks = await create(**question("amid", model="sim-stalled", max_tokens=400), stream=True)
        async for chunk in chunks:
            if chunk.choices[0].delta.content:
                break
        asking = asyncio.create_task(create(**question("before")))
        await door.simulator.until_started(2)
        await chunks.close()
        asking.cancel()
        await asyncio.wait([asking])
        stats = await door.simulator.settled()
    assert (stats["started"], stats["aborted"]) == (2, 2)
    for call in stats["calls"]:
        job = await door.until_ended(call["job"])
        assert (job["state"], job["attempts"]) == ("cancelled", 1)


async def test_a_reader_who_comes_back_in_time_finds_the_call_still_running(door: Door) -> None:
    await door.simulator.fault(ttft=1, model="sim-slow")
    headers = {"Idempotency-Key": "comes-back"}
    async with door.openai() as client:
        create = client.chat.completions.create
        asking = asyncio.create_task(create(**question("back"), extra_headers=headers))
        await door.simulator.until_started(1)
        asking.cancel()
        await asyncio.wait([asking])
        made = await create(**question("back"), extra_headers=headers)
    assert made.choices[0].message.content
    stats = await door.simulator.settled()
    assert (stats["started"], stats["completed"]) == (1, 1)
