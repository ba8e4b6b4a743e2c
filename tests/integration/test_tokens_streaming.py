"""Tokens at streaming: a page follows its own job, also past the token's end, and no other."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.support.log_world import LogWorld, completed
from tests.support.services import (
    TENANT,
    MakeStreaming,
    StreamingProcess,
    close_of,
    receive,
    send,
    sse,
    stored_frames,
    subscribe,
    until_end,
    websocket,
)
from tidegate.chassis.keyring import new_key
from tidegate.chassis.tokens import Tokens
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob

SECRET = b"not-for-anybodys-eyes-but-the-services"
TOKENS = Tokens((SECRET,))
PAGE = "https://app.example.com"


def token_for(
    job: QueuedJob | None, *, seconds: int = 600, tenant: str = TENANT, key_id: str = "development"
) -> str:
    """A token as the gateway makes it."""
    job_id = None if job is None else job.id
    return TOKENS.make(tenant, key_id, job_id=job_id, seconds=seconds)[0]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def streaming(make_streaming: MakeStreaming, tmp_path: Path) -> StreamingProcess:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    return await make_streaming(
        token_secret_file=secret, cors_origins=PAGE, sse_heartbeat_seconds=0.2
    )


def page_socket(
    streaming: StreamingProcess, *offers: str, origin: str = PAGE
) -> contextlib.AbstractAsyncContextManager[ClientConnection]:
    """A socket as a page opens it: no header but its origin."""
    return connect(
        streaming.websocket_url,
        subprotocols=["tidegate.v1", *offers],  # type: ignore[list-item]
        additional_headers={"Origin": origin},
        compression=None,
    )


async def refusal_of(
    streaming: StreamingProcess, *offers: str, origin: str = PAGE
) -> tuple[int, str]:
    """How a page's handshake is refused: status and message."""
    with pytest.raises(InvalidStatus) as refused:
        async with page_socket(streaming, *offers, origin=origin):
            pass
    response = refused.value.response
    assert "tidegate.token" not in str(response.headers)
    return response.status_code, json.loads(response.body)["error"]["message"]


async def test_a_page_follows_its_job_with_a_token_as_a_subprotocol(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    mine, other = await world.queue_job(TENANT), await world.queue_job(TENANT)
    token = token_for(mine)
    async with page_socket(streaming, f"tidegate.token.{token}") as socket:
        assert socket.subprotocol == "tidegate.v1"
        assert socket.response is not None
        assert token not in str(socket.response.headers)
        await subscribe(socket, other)
        refused = await receive(socket)
        assert (refused["type"], refused["code"]) == ("error", "JOB_NOT_FOUND")
        assert (refused["job_id"], refused["message"]) == (other.id, "no such job")
        await subscribe(socket, mine)
        await (await world.start_attempt(mine)).seal(completed())
        assert await until_end(socket, mine.id) == await stored_frames(world, mine)
    assert token not in streaming.log.read_text(encoding="utf-8")


async def test_a_token_for_all_jobs_is_for_its_tenants(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    mine, theirs = await world.queue_job(TENANT), await world.queue_job("acme")
    await (await world.start_attempt(mine)).seal(completed())
    async with page_socket(streaming, f"tidegate.token.{token_for(None)}") as socket:
        await subscribe(socket, theirs)
        assert (await receive(socket))["code"] == "JOB_NOT_FOUND"
        await subscribe(socket, mine)
        assert (await until_end(socket, mine.id))[-1]["type"] == "completed"


async def test_who_is_no_browser_may_use_a_token_too(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    job = await world.queue_job(TENANT)
    await (await world.start_attempt(job)).seal(completed())
    async with websocket(streaming, bearer(token_for(job))) as socket:
        await subscribe(socket, job)
        assert await until_end(socket, job.id) == await stored_frames(world, job)


def _forged(**claims: Any) -> str:
    now = int(time.time())
    ours = {"iss": "tidegate", "aud": "tidegate", "iat": now, "exp": now + 60, "jti": "x"}
    return jwt.encode(
        ours | {"tenant": TENANT, "key_id": "development"} | claims, b"f" * 32, algorithm="HS256"
    )


@pytest.mark.parametrize(
    ("offer", "status", "says"),
    [
        (lambda: f"tidegate.token.{token_for(None, seconds=-60)}", 401, "expired"),
        (lambda: f"tidegate.token.{_forged()}", 401, "not valid"),
        (lambda: f"tidegate.token.{token_for(None, key_id='gone')}", 401, "not known any more"),
        (lambda: f"tidegate.token.{token_for(None, tenant='acme')}", 401, "not known any more"),
        (lambda: "tidegate.token.a.b.c", 401, "not valid"),
        (lambda: "tidegate.token.tidegate-dev", 401, "no key"),
        (lambda: "tidegate.token.", 401, "no key"),
        (lambda: "another.v1", 401, "an API key is needed"),
    ],
)
async def test_a_page_without_a_good_token_opens_no_socket(
    streaming: StreamingProcess, offer: Any, status: int, says: str
) -> None:
    given = offer()
    got, message = await refusal_of(streaming, given)
    assert got == status
    assert says in message
    secret = given.removeprefix("tidegate.token.")
    assert not secret or secret not in message
    assert "tidegate-dev" not in streaming.log.read_text(encoding="utf-8")


async def test_a_page_of_another_origin_opens_no_socket_with_a_good_token(
    streaming: StreamingProcess,
) -> None:
    offer = f"tidegate.token.{token_for(None)}"
    status, message = await refusal_of(streaming, offer, origin="https://evil.example.com")
    assert (status, "Origin" in message) == (403, True)


async def test_two_credentials_are_one_too_many(streaming: StreamingProcess) -> None:
    offer = f"tidegate.token.{token_for(None)}"
    assert (await refusal_of(streaming, offer, f"{offer}x"))[0] == 400


async def test_a_token_that_ends_cuts_nothing_that_goes_on(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    """An answer may take longer than its token. A new wish needs a new one, and who follows
    nothing has to go: else a page that nobody looks at would hold its place for ever.
    """
    done, running = await world.queue_job(TENANT), await world.queue_job(TENANT)
    await (await world.start_attempt(done)).seal(completed())
    writer = await world.start_attempt(running)
    token = token_for(None, seconds=5)
    async with (
        page_socket(streaming, f"tidegate.token.{token}") as idle,
        page_socket(streaming, f"tidegate.token.{token}") as socket,
        sse(streaming, running.id, bearer(token)) as reader,
    ):
        await subscribe(idle, done)
        await until_end(idle, done.id)
        await subscribe(socket, running)
        assert (await receive(socket))["type"] == "attempt_started"
        code, reason = await close_of(idle)
        assert (code, "expired" in reason) == (4401, True)
        writer.emit(Delta("late"))
        assert (await receive(socket))["data"] == "late"
        assert (await reader.read(lambda seen: len(seen.frames) == 2))[-1]["data"] == "late"
        await send(socket, type="subscribe", job_id=running.id)
        code, reason = await close_of(socket)
        assert (code, "expired" in reason) == (4401, True)
    await writer.seal(completed())
    async with sse(streaming, running.id, bearer(token)) as reader:
        assert reader.response.status == 401


async def test_taking_a_key_away_takes_its_tokens_away(
    world: LogWorld, make_streaming: MakeStreaming, tmp_path: Path
) -> None:
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    secret.write_bytes(SECRET)
    new_key(keys, TENANT)
    key_id = json.loads(keys.read_text(encoding="utf-8"))["key_id"]
    streaming = await make_streaming(
        keys_file=keys,
        development="false",
        token_secret_file=secret,
        cors_origins="*",
        sse_heartbeat_seconds=0.2,
    )
    job = await world.queue_job(TENANT)
    token = token_for(job, key_id=key_id)
    async with (
        page_socket(streaming, f"tidegate.token.{token}", origin="null") as socket,
        sse(streaming, job.id, bearer(token)) as reader,
    ):
        await subscribe(socket, job)
        await reader.read(lambda seen: seen.lines)
        keys.write_text("", encoding="utf-8")
        await reader.read()
        assert reader.frames == []
        assert (await close_of(socket))[0] == 4401
    async with sse(streaming, job.id, bearer(token)) as reader:
        assert reader.response.status == 401


async def test_a_page_reads_events_and_refusals_across_origins(
    world: LogWorld, streaming: StreamingProcess
) -> None:
    mine, other = await world.queue_job(TENANT), await world.queue_job(TENANT)
    await (await world.start_attempt(mine)).seal(completed())
    page, token = {"Origin": PAGE}, token_for(mine)
    preflight = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.options(streaming.sse_url(mine.id), headers=page | preflight) as answer,
    ):
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, last-event-id"
    for job, headers, status in (
        (mine, bearer(token), 200),
        (mine, bearer(token) | {"Last-Event-ID": "2"}, 204),
        (other, bearer(token), 404),
        (mine, bearer(token + "x"), 401),
    ):
        async with sse(streaming, job.id, page | headers) as reader:
            assert reader.response.status == status
            assert reader.response.headers["Access-Control-Allow-Origin"] == PAGE
    async with sse(streaming, mine.id, {"Origin": "https://evil.example"}) as reader:
        assert "Access-Control-Allow-Origin" not in reader.response.headers
    async with sse(streaming, mine.id, page, f"?token={token}") as reader:
        assert reader.response.status == 400
        assert token not in await reader.response.text()
