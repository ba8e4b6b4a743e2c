"""Who is let in, and how a socket ends: a client learns from status or code what to do next."""

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.support.log_world import LogWorld, completed, wait_until
from tests.support.nats_frames import MessageFilter
from tests.support.nats_server import NatsServer
from tests.support.services import (
    AUTHORIZATION,
    TENANT,
    Frame,
    MakeStreaming,
    StreamingProcess,
    close_of,
    receive,
    send,
    stored_frames,
    subscribe,
    until_end,
    websocket,
)
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.keyring import new_key
from tidegate.contracts.jobs import new_job_id


@pytest.fixture
async def streaming(make_streaming: MakeStreaming) -> StreamingProcess:
    return await make_streaming(
        websocket_max_jobs=2,
        websocket_max_sockets=3,
        websocket_hello_seconds=1,
        websocket_max_frame_bytes=4096,
        cors_origins="https://app.example.com",
    )


async def refusal(
    streaming: StreamingProcess, headers: dict[str, str], path: str = "/v1/ws"
) -> tuple[int, dict[str, str]]:
    """The HTTP answer to a handshake that fails."""
    url = f"http://127.0.0.1:{streaming.websocket_port}{path}"
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "tidegate.v1",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=handshake | headers) as answer,
    ):
        text = await answer.text()
    with contextlib.suppress(json.JSONDecodeError):
        return answer.status, json.loads(text)["error"]
    return answer.status, {"message": text}


@pytest.mark.parametrize(
    ("headers", "path", "status", "says"),
    [
        ({}, "/v1/ws", 401, "an API key is needed"),
        ({"Authorization": "Bearer wrong"}, "/v1/ws", 401, "not known"),
        ({"Authorization": "Basic dGlkZWdhdGUtZGV2"}, "/v1/ws", 401, "an API key is needed"),
        (AUTHORIZATION, "/v1/ws?api_key=tidegate-dev", 400, "does not belong in a URL"),
        (AUTHORIZATION, "/v1/ws?x=tg_abc", 400, "does not belong in a URL"),
        (AUTHORIZATION, "/v1/ws?colour=blue", 400, "not supported"),
        (AUTHORIZATION, "/", 404, "/v1/ws"),
        (AUTHORIZATION | {"Origin": "https://evil.example.com"}, "/v1/ws", 403, "Origin"),
        (AUTHORIZATION | {"Sec-WebSocket-Protocol": "graphql-ws"}, "/v1/ws", 400, "subprotocol"),
    ],
)
async def test_a_handshake_is_refused_in_words(
    streaming: StreamingProcess, headers: dict[str, str], path: str, status: int, says: str
) -> None:
    got, error = await refusal(streaming, headers, path)
    assert got == status
    assert says in error["message"]
    assert "tidegate-dev" not in streaming.log.read_text(encoding="utf-8")


async def test_bytes_of_a_stranger_cost_nothing(streaming: StreamingProcess) -> None:
    """Scanners reach every open port; neither a line in the log nor a socket is theirs."""
    head = b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n"
    for data in (b"\x16\x03\x01" * 50, b"GET /", head * 200, b"\x00" * 70_000, head + b"\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", streaming.websocket_port)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        assert not answer or answer.startswith(b"HTTP/1.1 4")
        writer.close()
    assert "tidegate_websocket_sockets 0.0" in await streaming.metrics()


async def test_a_page_of_an_allowed_origin_is_let_in(streaming: StreamingProcess) -> None:
    for origin in ("https://app.example.com", "http://localhost:3000"):
        async with websocket(streaming, AUTHORIZATION | {"Origin": origin}) as socket:
            assert socket.subprotocol == "tidegate.v1"


@pytest.mark.parametrize(
    "data", ["", "null", "[]", "{}", '{"type":"hello"}', '{"type":"subscribe"}', b"\xff", b"{"]
)
async def test_a_bad_frame_closes_with_4400(streaming: StreamingProcess, data: str | bytes) -> None:
    async with websocket(streaming) as socket:
        await socket.send(data)
        code, reason = await close_of(socket)
    assert code == 4400
    assert reason


async def test_a_frame_over_the_bound_closes_with_1009(streaming: StreamingProcess) -> None:
    async with websocket(streaming) as socket:
        await socket.send("x" * 5000)
        assert (await close_of(socket))[0] == 1009


async def test_a_socket_that_asks_for_nothing_closes_with_4408(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    async with websocket(streaming) as silent, websocket(streaming) as polite:
        await subscribe(polite, job)
        assert (await close_of(silent))[0] == 4408
        await (await world.start_attempt(job)).seal(completed())
        assert (await until_end(polite, job.id))[-1]["type"] == "completed"


async def test_the_bounds_on_sockets_and_jobs_are_told(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    jobs = [await world.queue_job(TENANT) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(websocket(streaming)) for _ in range(4)]
        assert (await close_of(sockets[3]))[0] == 4429
        for job in jobs:
            await subscribe(sockets[0], job)
        error = await receive(sockets[0])
        assert (error["code"], error["job_id"]) == ("TOO_MANY_STREAMS", jobs[2].id)
        # Room again: one of the two has ended.
        await (await world.start_attempt(jobs[0])).seal(completed())
        await until_end(sockets[0], jobs[0].id)
        await subscribe(sockets[0], jobs[2])
        await (await world.start_attempt(jobs[2])).seal(completed())
        assert (await until_end(sockets[0], jobs[2].id))[-1]["type"] == "completed"


async def test_a_key_that_was_taken_away_closes_with_4401(
    world: LogWorld, make_streaming: MakeStreaming, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    old = new_key(keys, "acme")
    streaming = await make_streaming(keys_file=keys, development="false")
    async with websocket(streaming, {"Authorization": f"Bearer {old}"}) as socket:
        await subscribe(socket, await world.queue_job("acme"))
        keys.unlink()
        new = new_key(keys, "acme")
        assert (await close_of(socket))[0] == 4401
    async with websocket(streaming, {"Authorization": f"Bearer {new}"}):
        pass
    with pytest.raises(InvalidStatus):
        async with websocket(streaming, {"Authorization": f"Bearer {old}"}):
            pass
    log = streaming.log.read_text(encoding="utf-8")
    assert old not in log
    assert new not in log


async def test_a_gateway_that_is_away_is_an_error_and_not_the_end(
    streaming: StreamingProcess,
) -> None:
    async with websocket(streaming) as socket:
        body = {"model": "sim-1", "messages": [{"role": "user", "content": "hi"}]}
        await send(socket, type="create", ref="r1", request=body)
        created = await receive(socket)
        await send(socket, type="cancel", job_id="job_" + "a" * 26)
        cancelled = await receive(socket)
        await send(socket, type="create", ref="r2", colour="blue", request=body)
        refused = await receive(socket)
    assert (created["code"], created["ref"]) == ("CREATE_UNKNOWN", "r1")
    assert (cancelled["code"], cancelled["job_id"]) == ("UNAVAILABLE", "job_" + "a" * 26)
    assert (refused["code"], refused["field"], refused["ref"]) == (
        "UNSUPPORTED_FIELD",
        "colour",
        "r2",
    )


async def test_sockets_of_one_process_do_not_wait_for_each_other(
    world: LogWorld, make_streaming: MakeStreaming, nats_server: NatsServer
) -> None:
    """A hundred look-ups that JetStream does not answer are one client's, and nobody else's."""
    job, deaf = await world.queue_job(TENANT), asyncio.Event()
    answers = MessageFilter(lambda subject: deaf.is_set() and subject.startswith("_INBOX"))
    async with TcpProxy(
        nats_server.port, filters=lambda way: answers if way is Way.DOWN else None
    ) as proxy:
        nats_url = f"nats://127.0.0.1:{proxy.port}"
        streaming = await make_streaming(nats_url=nats_url, websocket_max_jobs=100)
        async with websocket(streaming) as busy, websocket(streaming) as other:
            await subscribe(other, job)
            writer = await world.start_attempt(job)
            begun = await receive(other)
            deaf.set()
            for _ in range(100):
                await send(busy, type="subscribe", job_id=new_job_id())
            await wait_until(lambda: answers.lost)
            most = asyncio.create_task(receive_all(busy, 90))
            await writer.seal(completed())
            live = [begun, *await until_end(other, job.id)]
            await subscribe(other, job)
            assert live == await until_end(other, job.id) == await stored_frames(world, job)
            # The look-ups stood before this one, sixteen at a time; they are far from over.
            assert not most.done()
            deaf.clear()
            codes = {frame["code"] for frame in await most + await receive_all(busy, 10)}
    assert codes <= {"UNAVAILABLE", "JOB_NOT_FOUND"}


async def receive_all(socket: ClientConnection, number: int) -> list[Frame]:
    """So many of the server's frames."""
    return [await receive(socket) for _ in range(number)]
