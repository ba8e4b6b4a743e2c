"""Chat completions over HTTP: what a client of OpenAI's API reads, to the byte where it matters."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.openai_door import STREAM, URL, answering, failing, playing, text_of
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.events import Completed, Delta, Failed, Timings, Usage
from tidegate.contracts.jobs import job_id_for
from tidegate.gateway.jobs import Jobs

NEVER = {"retry": "false"}


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    quick = {"heartbeat_seconds": 0.2, "stream_headers_seconds": 0.5}
    async with GatewayWorld(nats_server, tmp_path, **quick) as world:
        yield world


async def test_without_stream_the_completion_comes_whole(world: GatewayWorld) -> None:
    worker = asyncio.create_task(answering(world, "Hel", "lo"))
    async with world.http.post(URL, json=CHAT) as response:
        body = await response.json()
        assert response.status == 200
        job_id = await worker
        assert response.headers["x-tidegate-job"] == job_id
        assert response.headers["x-request-id"]
        assert response.headers["x-tidegate-cache"] == "miss"
    assert body["object"] == "chat.completion"
    assert body["id"] == f"chatcmpl-{job_id.removeprefix('job_')}"
    assert body["model"] == "sim-1"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["total_tokens"] == 3
    assert abs(body["created"] - (await world.get(job_id))["created_at"]) < 5
    assert (await world.queued(job_id)).on_disconnect == "cancel"


async def test_a_stream_comes_as_it_is_written_and_ends_with_done(world: GatewayWorld) -> None:
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(playing(world))
        asking = group.create_task(world.http.post(URL, json=STREAM).__aenter__())
        job_id, writer = await worker
        writer.emit(Delta("one"))
        async with await asking as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert response.headers["Cache-Control"] == "no-cache"
            assert response.headers["X-Accel-Buffering"] == "no"
            assert response.headers["x-tidegate-job"] == job_id
            lines = [await response.content.readline()]
            assert text_of(lines) == "one"
            writer.emit(Delta("two"))
            await writer.seal(completed())
            lines += [line async for line in response.content]
    assert text_of(lines) == "onetwo"
    assert lines[-2:] == [b"data: [DONE]\n", b"\n"]


async def test_headers_do_not_wait_for_ever_and_silence_beats(world: GatewayWorld) -> None:
    """A proxy in between takes a silent connection for dead; a beat has one line end."""
    async with world.http.post(URL, json=STREAM) as response:
        assert response.status == 200
        assert await response.content.readexactly(10) == b": hb\n: hb\n"
        worker = asyncio.create_task(answering(world, "late"))
        lines = [line async for line in response.content]
        await worker
    assert text_of(lines) == "late"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (Failed("PROVIDER_REFUSED", "no"), (400, "provider_refused", NEVER)),
        (Failed("CONTENT_FILTERED", "no"), (400, "content_filter", NEVER)),
        (Failed("CONTEXT_TOO_LONG", "no"), (400, "context_length_exceeded", NEVER)),
        (
            Failed("PROVIDER_RATE_LIMITED", "no", True, retry_after_ms=7_200),
            (429, "provider_rate_limited", {"after": "8"}),
        ),
        (
            Failed("CIRCUIT_OPEN", "no", True, retry_after_ms=3_600_000),
            (503, "circuit_open", {"after": "59"}),
        ),
        (Failed("PROVIDER_TIMEOUT", "no", True), (504, "provider_timeout", {})),
        (Failed("PROVIDER_STREAM_CUT", "no", True), (502, "provider_stream_cut", {})),
        (Failed("PROVIDER_CREDENTIALS", "no"), (502, "provider_credentials", NEVER)),
        (Failed("PROVIDER_MISCONFIGURED", "no"), (502, "provider_misconfigured", NEVER)),
    ],
)
async def test_an_error_before_the_first_token_is_an_http_error(
    world: GatewayWorld, failed: Failed, expected: tuple[int, str, dict[str, str]], stream: bool
) -> None:
    status, code, headers = expected
    worker = asyncio.create_task(failing(world, failed))
    async with world.http.post(URL, json=CHAT | {"stream": stream}) as response:
        error = (await response.json())["error"]
        told = {
            "retry": response.headers.get("x-should-retry"),
            "after": response.headers.get("Retry-After"),
        }
        assert response.headers["x-tidegate-job"] == await worker
    assert (response.status, error["code"], error["message"]) == (status, code, "no")
    assert error.keys() == {"message", "type", "param", "code"}
    assert {name: value for name, value in told.items() if value is not None} == headers


async def test_an_error_in_mid_stream_is_the_last_event(world: GatewayWorld) -> None:
    """A stream that just stopped would be taken for a whole answer."""
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(playing(world))
        asking = group.create_task(world.http.post(URL, json=STREAM).__aenter__())
        _, writer = await worker
        writer.emit(Delta("half an ans"))
        async with await asking as response:
            lines = [await response.content.readline()]
            await writer.seal(Failed("PROVIDER_STREAM_CUT", "the stream broke off", True))
            lines += [line async for line in response.content]
    assert text_of(lines) == "half an ans"
    assert json.loads(lines[-2][6:]) == {
        "error": {
            "message": "the stream broke off",
            "type": "server_error",
            "param": None,
            "code": "provider_stream_cut",
        }
    }
    assert not any(b"[DONE]" in line or b'"finish_reason":"' in line for line in lines)


async def test_a_key_names_one_job_streamed_or_not(world: GatewayWorld) -> None:
    headers = {"Idempotency-Key": "one"}
    worker = asyncio.create_task(answering(world, "once"))
    async with world.http.post(URL, json=CHAT, headers=headers) as response:
        first = await response.json()
    assert await worker == job_id_for("acme", "one")
    async with world.http.post(URL, json=STREAM, headers=headers) as response:
        assert response.headers["x-tidegate-job"] == job_id_for("acme", "one")
        assert text_of([line async for line in response.content]) == "once"
    async with world.http.post(URL, json=CHAT, headers=headers) as response:
        # The time is JetStream's once it is known, and may be of the second before.
        assert (await response.json()) | {"created": first["created"]} == first
    other = CHAT | {"temperature": 1}
    async with world.http.post(URL, json=other, headers=headers) as response:
        assert response.status == 422
        assert response.headers["x-should-retry"] == "false"
        error = (await response.json())["error"]
        assert (error["code"], error["param"]) == ("request_id_conflict", "Idempotency-Key")
        assert "request_id" not in error["message"]


async def test_a_failure_under_a_key_is_not_repeated_into_again(world: GatewayWorld) -> None:
    """The same key finds the same end: a stock client would ask for it three times."""
    headers = {"Idempotency-Key": "one"}
    worker = asyncio.create_task(failing(world, Failed("PROVIDER_TIMEOUT", "late.", True)))
    for _ in range(2):
        async with world.http.post(URL, json=CHAT, headers=headers) as response:
            assert response.status == 504
            assert response.headers["x-should-retry"] == "false"
            assert "use another" in (await response.json())["error"]["message"]
    await worker


async def test_a_changed_answer_is_told_whole_to_who_asks_again(world: GatewayWorld) -> None:
    """The stream could not go on; a repeat under the same key is the way out that it names."""
    headers = {"Idempotency-Key": "one"}
    async with asyncio.TaskGroup() as group:
        worker = group.create_task(playing(world))
        asking = group.create_task(world.http.post(URL, json=STREAM, headers=headers).__aenter__())
        job_id, writer = await worker
        writer.emit(Delta("first thoughts"))
        async with await asking as response:
            lines = [await response.content.readline()]
            second = await world.peer.start_attempt(await world.queued(job_id), worker="w2")
            second.emit(Delta("second thoughts"))
            await second.seal(completed())
            lines += [line async for line in response.content]
    assert json.loads(lines[-2][6:])["error"]["code"] == "answer_changed"
    async with world.http.post(URL, json=STREAM, headers=headers) as response:
        assert text_of([line async for line in response.content]) == "second thoughts"


async def _status_and_job(
    world: GatewayWorld, headers: dict[str, str], body: dict[str, Any]
) -> tuple[int, str]:
    async with world.http.post(URL, json=body, headers=headers) as response:
        await response.read()
        return response.status, response.headers["x-tidegate-job"]


async def test_a_batch_class_is_asked_for_by_tier_or_header(world: GatewayWorld) -> None:
    for after, (body, headers) in enumerate(
        [
            ({"service_tier": "flex"}, {}),
            ({}, {"x-tidegate-class": "batch"}),
            ({"service_tier": "auto"}, {"x-tidegate-on-disconnect": "detach"}),
        ]
    ):
        worker = asyncio.create_task(answering(world, "x", after=after))
        _, job_id = await _status_and_job(world, headers, CHAT | body)
        queued = await world.get(await worker)
        assert queued["id"] == job_id
        assert queued["class"] == ("interactive" if body.get("service_tier") == "auto" else "batch")


@pytest.mark.parametrize("ends", [False, True])
async def test_a_reader_that_does_not_read_is_cut(tmp_path: Path, ends: bool) -> None:
    """Else its job's log would be held in memory for as long as it likes, and its place too."""
    async with (
        NatsServer(tmp_path, config="max_payload: 8MB") as nats_server,
        GatewayWorld(nats_server, tmp_path, slow_reader_seconds=0.5) as world,
    ):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop, address = asyncio.get_running_loop(), world.gateway.http.address
            await loop.sock_connect(client, (address.host, address.port))
            body = json.dumps(STREAM).encode()
            head = (
                f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            await loop.sock_sendall(client, head.encode() + body)
            _, writer = await playing(world)
            for _ in range(20):
                writer.emit(Delta("x" * 100_000))
            if ends:
                await writer.seal(Completed(["stop"], Usage(), Timings(0, 0, 0)))
            await until(lambda: world.metric("tidegate_gateway_slow_readers_total 1.0"))
            await until(lambda: world.metric("tidegate_gateway_streams 0.0"))


async def test_a_drain_ends_a_stream_with_words(world: GatewayWorld) -> None:
    second = await world.start_gateway()
    async with world.client(second, world.key) as http:
        async with http.post(URL, json=STREAM) as response:
            assert await response.content.readline() == b": hb\n"
            stopping = asyncio.create_task(second.lifecycle.stop())
            lines = [line async for line in response.content]
        await stopping
    error = json.loads(lines[-2][6:])["error"]
    assert error["code"] == "draining"


async def test_an_answer_under_way_comes_to_its_end_before_the_process(
    world: GatewayWorld,
) -> None:
    """Its client could not go on elsewhere."""
    second = await world.start_gateway(drain_seconds=40.0)
    async with world.client(second, world.key) as http:
        async with http.post(URL, json=STREAM) as response:
            assert await response.content.readline() == b": hb\n"
            stopping = asyncio.create_task(second.lifecycle.stop())
            await until(lambda: _refuses(http))
            await answering(world, "in time")
            lines = [line async for line in response.content]
        await stopping
    assert text_of(lines) == "in time"
    assert lines[-2] == b"data: [DONE]\n"


async def _refuses(http: aiohttp.ClientSession) -> bool:
    async with http.post(URL, json=CHAT | {"model": "none"}) as response:
        if response.status != 503:
            return False
        assert (await response.json())["error"]["code"] == "draining"
        return True


async def test_who_finds_no_place_to_be_answered_at_made_no_job(world: GatewayWorld) -> None:
    """It would be run, and paid for, with nobody to read it."""
    narrow = await world.start_gateway(max_streams_per_tenant=1)
    async with world.client(narrow, world.key) as http:
        asking = [asyncio.create_task(http.post(URL, json=CHAT).__aenter__()) for _ in range(5)]
        worker = asyncio.create_task(answering(world, "one"))
        answers = await asyncio.gather(*asking)
        assert sorted(answer.status for answer in answers) == [200, 429, 429, 429, 429]
        for answer in answers:
            answer.release()
    await worker
    assert (await world.peer.jetstream.api("STREAM.INFO.JOBS"))["state"]["last_seq"] == 1


async def test_models_are_listed_and_shown(world: GatewayWorld) -> None:
    async with world.http.get("/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["sim-1", "sim-2"]
    for model in listed["data"]:
        assert model.keys() == {"id", "object", "created", "owned_by"}
        async with world.http.get(f"/v1/models/{model['id']}") as response:
            assert await response.json() == model
    async with world.http.get("/v1/models/who/knows") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"
    async with world.client(world.gateway, None) as http, http.get("/v1/models") as response:
        assert response.status == 401


async def test_a_client_that_goes_leaves_nothing_behind(world: GatewayWorld) -> None:
    async with aiohttp.ClientSession() as http:
        url = f"http://{world.gateway.http.address}{URL}"
        headers = {"Authorization": f"Bearer {world.key}"}
        for body in (CHAT, STREAM):
            asking = asyncio.create_task(http.post(url, json=body, headers=headers).__aenter__())
            await until(lambda: world.metric("tidegate_gateway_streams 1.0"))
            asking.cancel()
            answers = await asyncio.gather(asking, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, aiohttp.ClientResponse):
                    answer.close()
            await until(lambda: world.metric("tidegate_gateway_streams 0.0"))


async def test_an_error_after_the_job_was_made_names_the_job(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for a refusal, it would be asked again, and the model paid twice."""

    async def silent(*_: Any) -> AsyncGenerator[list[Any], None]:
        for batch in list[list[Any]]():
            yield batch
        raise Unavailable("the job store does not answer")

    monkeypatch.setattr(Jobs, "follow", silent)
    for stream in (True, False):
        body = CHAT | {"stream": stream}
        async with world.http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 503
            job_id = response.headers["x-tidegate-job"]
        assert (await world.get(job_id))["id"] == job_id
