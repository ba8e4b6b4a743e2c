"""Whatever bytes arrive at the OpenAI door: a typed refusal, in time, that repeats none of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld
from tests.support.nats_server import NatsServer

URL = "/v1/chat/completions"
CHAT_BYTES = json.dumps(CHAT).encode()
SECRET = "xyzzy-is-a-secret"


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path, body_seconds=2.0) as world:
        yield world


async def refused(world: GatewayWorld, **request: Any) -> tuple[int, dict[str, Any]]:
    async with world.http.post(URL, **request) as response:
        assert response.headers["x-request-id"]
        error: dict[str, Any] = (await response.json())["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        if response.status < 500:
            assert response.headers["x-should-retry"] == "false"
    assert await world.waiting() == 0
    return response.status, error


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"model": 5}, "invalid_request", "model"),
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_request", "tool_call_id"),
        ({"temperature": 3}, "invalid_request", "temperature"),
        ({"n": 2}, "invalid_request", "n"),
        ({"stream": "yes"}, "invalid_request", "stream"),
        ({"stream_options": {"include_usage": True}}, "invalid_request", "stream_options"),
        (
            {"stream": True, "stream_options": {"usage": True}},
            "unsupported_field",
            "stream_options.usage",
        ),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "invalid_request",
            "stream_options.include_obfuscation",
        ),
        ({"service_tier": "priority"}, "invalid_request", "service_tier"),
        ({"service_tier": 5}, "invalid_request", "service_tier"),
        ({"store": True}, "unsupported_field", "store"),
        ({"top_k": 5}, "unsupported_field", "top_k"),
        ({"x" * 10_000: 5}, "unsupported_field", "x" * 200),
        ({"seed": 10**400}, "invalid_request", "seed"),
        ({"audio": [[[[0]]]]}, "unsupported_field", "audio"),
    ],
)
async def test_a_bad_field_is_named(
    world: GatewayWorld, change: dict[str, Any], code: str, field: str
) -> None:
    status, error = await refused(world, json=CHAT | change)
    assert (status, error["code"]) == (400, code)
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").endswith(field)


async def test_an_unknown_model_is_a_404(world: GatewayWorld) -> None:
    status, error = await refused(world, json=CHAT | {"model": "gpt-x"})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        CHAT_BYTES.replace(b"hi", b"\xff"),
        CHAT_BYTES.replace(b'"hi"', b'"\\ud800"'),
        CHAT_BYTES.replace(b'"hi"', b"NaN"),
        CHAT_BYTES[:-1] + b',"x":NaN}',
        CHAT_BYTES[:-1] + b',"x":"\xff"}',
        CHAT_BYTES[:-1] + b',"x":"\\ud800"}',
        CHAT_BYTES[:-1] + b',"x":1e999}',
        CHAT_BYTES[:-1] + b',"x":' + b"9" * 10_000 + b"}",
        CHAT_BYTES[:-1] + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        CHAT_BYTES[:-1] + b',"tools":[{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}]}",
        CHAT_BYTES[:-1] + b',"metadata":' + b'{"a":' * 10_000 + b"}" * 10_000 + b"}",
        b"[" * 10_000,
        b'{"a":' * 10_000,
        CHAT_BYTES[:-1] + b',"model":"sim-2"}',
        CHAT_BYTES.replace(b'"role"', b'"role":"system","role"'),
        CHAT_BYTES[:-1] + b',"x":{"\\ud800":1,"\\ud800":2}}',
        b"\xef\xbb\xbf" + CHAT_BYTES,
        CHAT_BYTES.decode().encode("utf-16"),
        CHAT_BYTES + CHAT_BYTES,
    ],
    ids=lambda data: f"{data[:6]!r}..{data[-24:]!r}",
)
async def test_bytes_that_are_no_such_request_are_a_400(world: GatewayWorld, data: bytes) -> None:
    """An answer of 500 would page somebody, and be repeated by the client."""
    status, error = await refused(world, data=data, headers={"Content-Type": "application/json"})
    assert status == 400
    assert len(error["message"]) < 500


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Content-Type": "text/plain"}, "Content-Type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type"),
        ({"Idempotency-Key": ""}, "Idempotency-Key"),
        ({"Idempotency-Key": "x" * 129}, "Idempotency-Key"),
        ({"x-tidegate-class": "urgent"}, "x-tidegate-class"),
        ({"x-tidegate-on-disconnect": "explode"}, "x-tidegate-on-disconnect"),
    ],
)
async def test_a_header_that_cannot_be_obeyed_is_named(
    world: GatewayWorld, headers: dict[str, str], field: str
) -> None:
    sent = {"Content-Type": "application/json"} | headers
    status, error = await refused(world, data=CHAT_BYTES, headers=sent)
    assert (status, error["param"]) == (400, field)


async def test_a_retry_count_that_is_no_number_is_no_reason_to_refuse(world: GatewayWorld) -> None:
    for count in ("many", "-1", "9" * 50, "٣"):
        headers = {"x-stainless-retry-count": count}
        status, error = await refused(world, json=CHAT | {"model": "gpt-x"}, headers=headers)
        assert (status, error["code"]) == (404, "model_not_found")


async def test_a_flex_tier_and_an_interactive_class_differ(world: GatewayWorld) -> None:
    headers = {"x-tidegate-class": "interactive"}
    status, error = await refused(world, json=CHAT | {"service_tier": "flex"}, headers=headers)
    assert (status, error["param"]) == (400, "service_tier")


async def test_a_body_over_the_bound_names_it(world: GatewayWorld) -> None:
    bound = world.peer.client.max_payload - 16 * 1024
    status, error = await refused(world, data=b" " * (bound + 1))
    assert (status, error["code"]) == (413, "request_too_large")
    assert str(bound) in error["message"]


async def test_a_body_that_never_ends_is_refused_in_time(world: GatewayWorld) -> None:
    async def drops() -> AsyncIterator[bytes]:
        yield b'{"model":'
        while True:
            await asyncio.sleep(0.1)
            yield b" "

    status, error = await refused(world, data=drops())
    assert status == 400
    assert "2 seconds" in error["message"]


async def raw(world: GatewayWorld, *parts: bytes) -> tuple[bytes, dict[str, Any]]:
    """Sends bytes, part by part; the status line and the error that they are answered with."""
    address = world.gateway.http.address
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        return head, json.loads(await reader.readexactly(length))["error"]
    finally:
        writer.close()
        await writer.wait_closed()


def head_of(world: GatewayWorld, *lines: str) -> bytes:
    head = [f"POST {URL} HTTP/1.1", "Host: x", f"Authorization: Bearer {world.key}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    "lines",
    [
        [f"x-{number}: {SECRET}" for number in range(10_000)],
        [f"x: {SECRET * 1000}"],
        [f"bad header {SECRET}"],
        [f"Content-Length: {SECRET}"],
        ["Content-Length: -5"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
    ],
    ids=["ten thousand", "long", "malformed", "length", "negative", "two lengths"],
)
async def test_a_head_that_cannot_be_read_is_a_typed_400_that_repeats_nothing(
    world: GatewayWorld, lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Among what cannot be read are keys; they must not come back, nor go to the log."""
    head, error = await raw(world, head_of(world, *lines))
    assert head.startswith(b"HTTP/1.0 400 ") or head.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id" in head
    assert error["code"] == "invalid_request"
    assert SECRET not in json.dumps(error)
    logged = capfd.readouterr()
    assert SECRET not in logged.out + logged.err
    assert world.key not in logged.out + logged.err


async def test_chunks_that_cannot_be_read_are_a_400(world: GatewayWorld) -> None:
    chunked = head_of(world, "Transfer-Encoding: chunked", "Content-Type: application/json")
    head, error = await raw(world, chunked, b'5\r\n{"mod\r\n', b"zz\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert error["code"] == "invalid_request"
    assert await world.waiting() == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_unpacked_is_a_400(world: GatewayWorld, encoding: str) -> None:
    status, error = await refused(world, data=CHAT_BYTES, headers=unpacked_as(encoding))
    assert (status, error["code"]) == (400, "invalid_request")


def unpacked_as(encoding: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Content-Encoding": encoding}


async def test_a_body_that_breaks_off_leaves_nothing(world: GatewayWorld) -> None:
    address = world.gateway.http.address
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head_of(world, "Content-Length: 500") + CHAT_BYTES)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with world.http.get("/v1/models") as response:
        assert response.status == 200
    assert await world.waiting() == 0
