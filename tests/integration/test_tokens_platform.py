"""A page's token across services: streaming passes its wishes on, the gateway decides."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.platform import Platform

pytestmark = pytest.mark.timeout(120)
_KEY = {"Authorization": "Bearer tidegate-dev"}
_REQUEST = {
    "model": "sim-small",
    "messages": [{"role": "user", "content": "How long is an ebb?"}],
    "max_tokens": 2000,
}


@pytest.fixture
async def session(platform: Platform) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(platform.url, headers=_KEY) as client:
        yield client


async def post(session: aiohttp.ClientSession, path: str, **body: Any) -> dict[str, Any]:
    async with session.post(path, json=body) as answer:
        found: dict[str, Any] = await answer.json()
        assert answer.status in {201, 202}, found
        return found


async def reply(socket: ClientConnection, **frame: Any) -> dict[str, Any]:
    """What the server says to a frame."""
    await socket.send(msgspec.json.encode(frame).decode())
    answer: dict[str, Any] = msgspec.json.decode(await socket.recv())
    return answer


async def test_a_pages_socket_cancels_its_own_job_and_does_nothing_else(
    platform: Platform, session: aiohttp.ClientSession
) -> None:
    mine = (await post(session, "/v1/jobs", request=_REQUEST))["id"]
    other = (await post(session, "/v1/jobs", request=_REQUEST))["id"]
    token = (await post(session, "/v1/tokens", job_id=mine))["token"]
    async with connect(
        f"ws://127.0.0.1:{platform.port('streaming WebSocket')}/v1/ws",
        subprotocols=["tidegate.v1", f"tidegate.token.{token}"],  # type: ignore[list-item]
        origin="http://localhost:3000",  # type: ignore[arg-type]
    ) as socket:
        refused = await reply(socket, type="create", ref="r", request=_REQUEST)
        assert (refused["type"], refused["code"]) == ("error", "PERMISSION_DENIED")
        assert refused["ref"] == "r"
        for command in ("cancel", "subscribe"):
            refused = await reply(socket, type=command, job_id=other)
            assert (refused["code"], refused["message"]) == ("JOB_NOT_FOUND", "no such job")
        accepted = await reply(socket, type="cancel", job_id=mine)
        assert accepted == {"type": "cancel_accepted", "job_id": mine}
    async with session.get(f"/v1/jobs/{other}") as answer:
        assert (await answer.json())["state"] in {"queued", "running"}
    await post_cancel(session, other)
    assert token not in platform.log.read_text(encoding="utf-8")


async def post_cancel(session: aiohttp.ClientSession, job: str) -> None:
    """Leaves nothing running behind."""
    async with session.post(f"/v1/jobs/{job}/cancel") as answer:
        assert answer.status == 200


async def test_the_table_of_up_and_the_log_hold_no_secret(platform: Platform) -> None:
    secret = (platform.data / "token-secret").read_text(encoding="utf-8").strip()
    assert secret not in platform.log.read_text(encoding="utf-8")
