"""Embeddings: what the provider answered, if it is that."""

import asyncio
import base64
import struct
from typing import Any

import msgspec
import pytest

from tests.support.provider_world import (
    HEADERS,
    Script,
    answering,
    scripted,
    simulated,
)
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers import embeddings
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.routes import Timeouts

MODEL = {"model": "sim-embedding"}


def good(*vectors: Any, **fields: Any) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3}} | fields


def says(answer: object) -> Script:
    return answering(msgspec.json.encode(answer), content_type="application/json")


async def test_as_the_provider_says() -> None:
    async with simulated(route=MODEL) as provider:
        result = await provider.embed(model="public", input=["ebb", "flow"])
        data = msgspec.json.decode(result.data)
        assert [each["index"] for each in data] == [0, 1]
        assert len(data[0]["embedding"]) == len(data[1]["embedding"]) > 0
        assert result.usage is not None
        assert (result.usage.input_tokens > 0, result.usage.output_tokens) == (True, 0)
        packed = await provider.embed(model="public", input="ebb", encoding_format="base64")
        (one,) = msgspec.json.decode(packed.data)
        numbers = struct.unpack(
            f"<{len(data[0]['embedding'])}f", base64.b64decode(one["embedding"])
        )
        assert numbers == pytest.approx(data[0]["embedding"])


async def test_the_request_goes_on_with_the_targets_model_and_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIM_KEY", "sesame")
    heads: list[bytes] = []

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await says(good([1.0]))(head, writer)

    async with scripted(script, model="upstream", api_key_env="SIM_KEY") as provider:
        await provider.embed(model="public", input="x")
    assert b"post /v1/embeddings " in heads[0]
    assert b"\r\nauthorization: bearer sesame\r\n" in heads[0]
    assert f"\r\nx-tidegate-job: {HEADERS['x-tidegate-job']}\r\n".encode() in heads[0]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("a", good([0.5, -1e-7, 3])),
        ("a", good("AACAPw==")),
        ([1, 2, 3], good([1])),
        ([[1, 2], [3]], good([1], [2])),
        (["a", "b"], good([1], [2], usage=None)),
        (["a"], good([1], usage={"prompt_tokens": "many"})),
    ],
)
async def test_what_is_taken(request_: object, answer: object) -> None:
    async with scripted(says(answer)) as provider:
        result = await provider.embed(input=request_)
        usage = answer["usage"]  # type: ignore[index]
        told = usage == {"prompt_tokens": 3}
        assert result.usage == (Usage(input_tokens=3) if told else None)


@pytest.mark.parametrize(
    "script",
    [
        says({}),
        says([]),
        says(good()),
        says(good([])),
        says(good("")),
        says(good(None)),
        says(good([1, None])),
        says(good([[1]])),
        says(good({"a": 1})),
        says(good(["1"])),
        says(good([1], [2])),
        says(good([1], data=[{"index": 1, "embedding": [1]}])),
        says({"error": {"message": "m"}}),
        answering(b"<html>busy</html>", content_type="text/html"),
        answering(b'{"data": [{"index": 0, "embedding": [1, 2', content_type="application/json"),
        answering(b" ", content_type="application/json"),
        answering(b"[" * 100_000, content_type="application/json"),
    ],
)
async def test_what_is_no_embedding_for_each_input(script: Script) -> None:
    async with scripted(script) as provider:
        with pytest.raises(ProviderError) as caught:
            await provider.embed(input="secret")
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert caught.value.kind is ErrorKind.RETRIABLE
        assert "secret" not in caught.value.message


async def test_an_answer_without_end_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embeddings, "LARGEST_ANSWER", 10_000)

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" " * 1000)
            await writer.drain()

    async with scripted(script) as provider:
        with pytest.raises(ProviderError) as caught:
            await provider.embed(input="x")
        assert caught.value.reason is Reason.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fail=429;retry_after=7", Reason.PROVIDER_RATE_LIMITED),
        ("fail=500", Reason.PROVIDER_UNAVAILABLE),
        ("fail=401", Reason.PROVIDER_CREDENTIALS),
        ("ttft=60", Reason.PROVIDER_TIMEOUT),
    ],
)
async def test_failures_are_those_of_any_call(behaviour: str, reason: Reason) -> None:
    hurried = Timeouts(connect=5, first_token=1, between_tokens=1, total=20)
    async with simulated(hurried, route=MODEL) as provider:
        with pytest.raises(ProviderError) as caught:
            await provider.embed(input="x", headers=HEADERS | {"x-simulator": behaviour})
        assert caught.value.reason is reason
        assert caught.value.retry_after == (7 if "429" in behaviour else None)


async def test_a_body_that_breaks_off_or_stops() -> None:
    async def breaks(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        raise ConnectionError

    async def stops(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.Event().wait()

    hurried = Timeouts(connect=5, first_token=5, between_tokens=1, total=0.3)
    for script, reason in [
        (breaks, Reason.PROVIDER_STREAM_CUT),
        (stops, Reason.PROVIDER_TIMEOUT),
    ]:
        async with scripted(script, hurried) as provider:
            with pytest.raises(ProviderError) as caught:
                await provider.embed(input="x")
            assert caught.value.reason is reason
