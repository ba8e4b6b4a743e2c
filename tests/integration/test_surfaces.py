"""One job, read over every surface at once while its worker dies: all readers agree, exactly."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc.aio
import pytest

from tests.support.platform import Platform
from tidegate.v1 import jobs_pb2 as pb
from tidegate.v1 import jobs_pb2_grpc

pytestmark = pytest.mark.timeout(120)
_KEY = {"Authorization": "Bearer tidegate-dev"}
_TOKENS = 200
Events = dict[int, dict[str, Any]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=_KEY) as client:
        yield client


async def test_every_surface_tells_the_same_story_of_a_killed_worker(
    platform: Platform, session: aiohttp.ClientSession
) -> None:
    job = await _create(platform, session)
    begun = asyncio.Event()
    readers = [
        asyncio.create_task(_over_websocket(platform, session, job, begun)),
        asyncio.create_task(_over_sse(platform, session, job)),
        asyncio.create_task(_over_grpc(platform, job)),
    ]
    await begun.wait()
    await platform.kill("worker")
    live = await asyncio.gather(*readers)
    late = [
        await _over_websocket(platform, session, job, begun),
        await _over_sse(platform, session, job),
        await _over_grpc(platform, job),
    ]
    async with session.get(f"{platform.url}/v1/jobs/{job}") as response:
        shown = await response.json()
    assert (shown["state"], shown["attempts"]) == ("completed", 2)
    for events in [*live, *late]:
        assert sorted(events) == list(range(1, shown["last_sequence"] + 1))
        assert events == live[0]
        assert _text(events) == shown["answer"]["text"]
    assert shown["usage"]["output_tokens"] == _TOKENS


async def test_a_job_begun_over_one_surface_is_continued_over_another(
    platform: Platform, session: aiohttp.ClientSession
) -> None:
    job = await _create(platform, session)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{platform.port('gateway gRPC')}") as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        request = pb.StreamJobEventsRequest(job_id=job)
        call = stub.StreamJobEvents(request, metadata=_metadata())
        first: Events = {}
        async for response in call:
            first[response.event.sequence] = _of_proto(response.event)
            if len(first) == 30:
                break
        call.cancel()
    rest = await _over_sse(platform, session, job, after=30)
    assert sorted(first | rest) == list(range(1, max(rest) + 1))
    assert not first.keys() & rest.keys()


async def _create(platform: Platform, session: aiohttp.ClientSession) -> str:
    body = {
        "request": {
            "model": "sim-small",
            "messages": [{"role": "user", "content": "Who watches the tide?"}],
            "max_tokens": _TOKENS,
        }
    }
    async with session.post(f"{platform.url}/v1/jobs", json=body) as response:
        assert response.status == 202
        job: str = (await response.json())["id"]
        return job


async def _over_websocket(
    platform: Platform, session: aiohttp.ClientSession, job: str, begun: asyncio.Event
) -> Events:
    """Cut after every 40 events, and resumed."""
    events: Events = {}
    url = f"http://127.0.0.1:{platform.port('streaming WebSocket')}/v1/ws"
    while True:
        async with session.ws_connect(url, protocols=("tidegate.v1",)) as socket:
            after = max(events, default=0)
            await socket.send_json({"type": "subscribe", "job_id": job, "after_sequence": after})
            async for message in socket:
                event = json.loads(message.data)
                assert event["sequence"] == max(events, default=0) + 1
                events[event["sequence"]] = _plain(event)
                if len(events) == 20:
                    begun.set()
                if event["type"] == "completed":
                    return events
                if len(events) % 40 == 0:
                    break


async def _over_sse(
    platform: Platform, session: aiohttp.ClientSession, job: str, after: int = 0
) -> Events:
    """Cut after every 50 events, and resumed by Last-Event-ID."""
    events: Events = {}
    url = f"http://127.0.0.1:{platform.port('streaming SSE')}/v1/jobs/{job}/events"
    while True:
        last = max(events, default=after)
        async with session.get(url, headers={"Last-Event-ID": str(last)}) as response:
            assert response.status == 200
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line[5:])
                assert event["sequence"] == max(events, default=after) + 1
                events[event["sequence"]] = _plain(event)
                if event["type"] == "completed":
                    return events
                if len(events) % 50 == 0:
                    break


async def _over_grpc(platform: Platform, job: str) -> Events:
    events: Events = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{platform.port('gateway gRPC')}") as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        request = pb.StreamJobEventsRequest(job_id=job)
        async for response in stub.StreamJobEvents(request, metadata=_metadata()):
            events[response.event.sequence] = _of_proto(response.event)
    return events


def _metadata() -> tuple[tuple[str, str], ...]:
    return (("authorization", _KEY["Authorization"]),)


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """What all surfaces say of an event."""
    return {
        "type": event["type"],
        "at_ms": event["at_ms"],
        "attempt": event.get("attempt"),
        "data": event.get("data"),
        "usage": event.get("usage", {}).get("output_tokens"),
    }


def _of_proto(event: pb.JobEvent) -> dict[str, Any]:
    kind = event.WhichOneof("event")
    assert kind is not None
    return {
        "type": kind,
        "at_ms": event.at.ToMilliseconds(),
        "attempt": event.attempt_started.attempt if kind == "attempt_started" else None,
        "data": event.delta.data if kind == "delta" else None,
        "usage": event.completed.usage.output_tokens if kind == "completed" else None,
    }


def _text(events: Events) -> str:
    text = ""
    for _, event in sorted(events.items()):
        if event["type"] == "attempt_started":
            text = ""
        elif event["type"] == "delta":
            text += event["data"]
    return text
