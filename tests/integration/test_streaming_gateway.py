"""Creating and cancelling over a socket: the gateway's own word, with the caller's own key."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.log_world import LogWorld, completed
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import (
    MakeStreaming,
    ServiceProcess,
    StreamingProcess,
    receive,
    send,
    until_end,
    websocket,
)
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.keyring import new_key
from tidegate.contracts.jobs import QueuedJob, decode_job
from tidegate.contracts.subjects import JOBS_STREAM, job_anywhere

ROUTES = """
providers:
  simulator: {base_url: "http://127.0.0.1:9/v1"}
models:
  sim-1: {queue: default, targets: [{provider: simulator}]}
"""
BODY = {"model": "sim-1", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def streaming(
    make_streaming: MakeStreaming, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[StreamingProcess]:
    target = f"127.0.0.1:{free_port()}"
    (tmp_path / "routes.yaml").write_text(ROUTES, encoding="utf-8")
    keys = tmp_path / "keys"
    (tmp_path / "key").write_text(new_key(keys, "acme"), encoding="utf-8")
    gateway = ServiceProcess(
        "gateway",
        tmp_path,
        free_port(),
        TIDEGATE_NATS_URL=nats_server.url,
        TIDEGATE_GRPC_LISTEN=target,
        TIDEGATE_HTTP_LISTEN=f"127.0.0.1:{free_port()}",
        TIDEGATE_ROUTES_FILE=str(tmp_path / "routes.yaml"),
        TIDEGATE_KEYS_FILE=str(keys),
    )
    async with gateway:
        yield await make_streaming(gateway_target=target, keys_file=keys)


@pytest.fixture
def headers(streaming: StreamingProcess, tmp_path: Path) -> dict[str, str]:
    key = (tmp_path / "key").read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {key}"}


async def queued(jetstream: JetStream, job_id: str) -> QueuedJob:
    """The job's message, of the tenant whose key created it."""
    stored = await jetstream.last(JOBS_STREAM, job_anywhere("acme", job_id))
    assert stored is not None
    return decode_job(stored.payload)


async def test_a_job_is_created_followed_and_done_over_one_socket(
    world: LogWorld, streaming: StreamingProcess, headers: dict[str, str]
) -> None:
    async with websocket(streaming, headers) as socket:
        await send(
            socket,
            **{"type": "create", "ref": "mine", "class": "batch", "request": BODY},
            ttl_s=90,
            on_disconnect="cancel",
        )
        created = await receive(socket)
        assert (created["type"], created["ref"]) == ("created", "mine")
        view = created["job"]
        assert (view["state"], view["model"], view["class"]) == ("queued", "sim-1", "batch")
        assert view["deadline"] - view["created_at"] == pytest.approx(90)
        job = await queued(world.jetstream, view["id"])
        assert job.on_disconnect == "cancel"
        await send(socket, type="subscribe", job_id=job.id)
        await (await world.start_attempt(job)).seal(completed())
        frames = await until_end(socket, job.id)
    assert [frame["type"] for frame in frames] == ["attempt_started", "completed"]


async def test_the_same_request_id_gives_the_same_job(
    streaming: StreamingProcess, headers: dict[str, str]
) -> None:
    """Whoever lost the answer repeats the frame, on any socket, and pays once."""
    ids = set()
    for _ in range(2):
        async with websocket(streaming, headers) as socket:
            await send(socket, type="create", request_id="r-1", request=BODY)
            ids.add((await receive(socket))["job"]["id"])
    assert len(ids) == 1


async def test_a_queued_job_is_cancelled(
    streaming: StreamingProcess, headers: dict[str, str]
) -> None:
    async with websocket(streaming, headers) as socket:
        await send(socket, type="create", request=BODY)
        job_id = (await receive(socket))["job"]["id"]
        await send(socket, type="cancel", job_id=job_id)
        assert await receive(socket) == {"type": "cancel_accepted", "job_id": job_id}
        await send(socket, type="subscribe", job_id=job_id)
        assert (await until_end(socket, job_id))[-1]["type"] == "cancelled"


async def test_the_gateways_refusals_arrive_in_the_frames_words(
    streaming: StreamingProcess, headers: dict[str, str]
) -> None:
    refusals: list[tuple[dict[str, object], str, str | None]] = [
        ({"request": {**BODY, "colour": 1}}, "UNSUPPORTED_FIELD", "request.colour"),
        ({"request": {**BODY, "messages": []}}, "INVALID_REQUEST", "request.messages"),
        ({"request": 7}, "INVALID_REQUEST", "request"),
        ({"request": {**BODY, "model": "none"}}, "MODEL_NOT_FOUND", "request.model"),
        ({"request": BODY, "ttl_s": 10**8}, "INVALID_REQUEST", "ttl_s"),
        ({"request": BODY, "class": "later"}, "INVALID_REQUEST", "class"),
        ({}, "INVALID_REQUEST", "request"),
    ]
    async with websocket(streaming, headers) as socket:
        for frame, code, field in refusals:
            await send(socket, **{"type": "create", "ref": code, **frame})
            error = await receive(socket)
            assert (error["type"], error["code"], error["ref"]) == ("error", code, code)
            assert error.get("field") == field
            assert "chat_json" not in error["message"]
        await send(socket, type="cancel", job_id="job_" + "a" * 26)
        assert (await receive(socket))["code"] == "JOB_NOT_FOUND"


async def test_a_key_that_only_the_gateway_refuses_closes_with_4401(
    streaming: StreamingProcess, headers: dict[str, str], tmp_path: Path
) -> None:
    """The two look at the file at their own times; the socket hears of it at once."""
    async with websocket(streaming, headers) as socket:
        (tmp_path / "keys").unlink()
        new_key(tmp_path / "keys", "acme")
        with contextlib.suppress(ConnectionClosed):
            while True:
                await send(socket, type="create", request=BODY)
                assert (await receive(socket))["type"] == "created"
    assert socket.close_code == 4401
