"""What is refused says why, names the field, and tells a stranger nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.gateway_world import CHAT, GatewayWorld, Rpc, refused
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import TidegateError
from tidegate.contracts.jobs import new_job_id
from tidegate.v1 import jobs_pb2 as pb

CHAT_JSON = msgspec.json.encode(CHAT)


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


async def post(world: GatewayWorld, **request: Any) -> tuple[int, dict[str, Any]]:
    async with world.http.post("/v1/jobs", **request) as response:
        assert response.headers["x-request-id"]
        return response.status, (await response.json())["error"]


async def error_of(call: Any) -> tuple[str, TidegateError]:
    error = await refused(call)
    return error.code().name, from_rpc_error(error)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "invalid_request", "request"),
        ({"request": {}}, "invalid_request", "request.model"),
        ({"request": CHAT | {"temperature": 3}}, "invalid_request", "request.temperature"),
        ({"request": CHAT | {"n": 2}}, "invalid_request", "request.n"),
        ({"request": CHAT | {"messages": []}}, "invalid_request", "request.messages"),
        ({"request": CHAT | {"best_of": 2}}, "unsupported_field", "request.best_of"),
        ({"request": CHAT, "priority": 9}, "unsupported_field", "priority"),
        ({"request": CHAT, "on_disconnect": "explode"}, "invalid_request", "on_disconnect"),
        ({"request": CHAT, "class": "urgent"}, "invalid_request", "class"),
        ({"request": CHAT, "ttl_s": 0.5}, "invalid_request", "ttl_s"),
        ({"request": CHAT, "ttl_s": 21_601}, "invalid_request", "ttl_s"),
        ({"request": CHAT, "ttl_s": "60"}, "invalid_request", "ttl_s"),
        ({"request": CHAT, "request_id": "x" * 129}, "invalid_request", "request_id"),
        ({"request": CHAT, "request_id": "é" * 65}, "invalid_request", "request_id"),
    ],
)
async def test_a_bad_body_is_a_400_that_names_the_field(
    world: GatewayWorld, body: dict[str, Any], code: str, field: str
) -> None:
    status, error = await post(world, json=body)
    assert (status, error["code"], error["param"]) == (400, code, field)
    assert error["type"] == "invalid_request_error"
    assert await world.waiting() == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"request": "\xff"}',
        b'{"request": ' + b"[" * 3000,
        b'{"request": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"request": ' + b'{"a":' * 3000,
        b"[" * 3000,
    ],
    ids=lambda data: data[:16],
)
async def test_what_is_not_json_is_a_400(world: GatewayWorld, data: bytes) -> None:
    """An answer of 500 would page somebody, and be repeated by the client."""
    status, error = await post(world, data=data)
    assert (status, error["code"]) == (400, "invalid_request")


async def test_a_header_and_a_field_that_name_two_ids_are_a_400(world: GatewayWorld) -> None:
    body = {"request": CHAT, "request_id": "one"}
    status, error = await post(world, json=body, headers={"Idempotency-Key": "two"})
    assert (status, error["param"]) == (400, "request_id")
    twice = [("Idempotency-Key", "two"), ("Idempotency-Key", "three")]
    status, error = await post(world, json={"request": CHAT}, headers=twice)
    assert (status, error["param"]) == (400, "Idempotency-Key")
    assert await world.waiting() == 0


async def test_an_unknown_model_is_not_found_on_both_surfaces(world: GatewayWorld) -> None:
    status, error = await post(world, json={"request": CHAT | {"model": "gpt-x"}})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "request.model")
    chat = msgspec.json.encode(CHAT | {"model": "gpt-x"})
    code, told = await error_of(world.rpc.call("CreateJob", pb.CreateJobRequest(chat_json=chat)))
    assert (code, told.reason, told.field) == ("NOT_FOUND", "MODEL_NOT_FOUND", "chat_json.model")


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (pb.CreateJobRequest(), "INVALID_REQUEST", "chat"),
        (pb.CreateJobRequest(chat=pb.ChatRequest()), "INVALID_REQUEST", "chat.model"),
        (
            pb.CreateJobRequest(chat=pb.ChatRequest(model="sim-1")),
            "INVALID_REQUEST",
            "chat.messages",
        ),
        (
            pb.CreateJobRequest(
                chat=pb.ChatRequest(model="sim-1", messages=[pb.ChatMessage(role="boss")])
            ),
            "INVALID_REQUEST",
            "chat.messages[0].role",
        ),
        (pb.CreateJobRequest(chat_json=b"{"), "INVALID_REQUEST", "chat_json"),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON[:-1] + b',"suffix":"x"}'),
            "UNSUPPORTED_FIELD",
            "chat_json.suffix",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, on_disconnect=9),  # type: ignore[arg-type]
            "INVALID_REQUEST",
            "on_disconnect",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, job_class=9),  # type: ignore[arg-type]
            "INVALID_REQUEST",
            "job_class",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, ttl=Duration(nanos=1)),
            "INVALID_REQUEST",
            "ttl",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, ttl=Duration(seconds=-60)),
            "INVALID_REQUEST",
            "ttl",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, ttl=Duration(seconds=10**11)),
            "INVALID_REQUEST",
            "ttl",
        ),
        (
            pb.CreateJobRequest(chat_json=CHAT_JSON, request_id="x" * 129),
            "INVALID_REQUEST",
            "request_id",
        ),
    ],
)
async def test_a_bad_message_is_an_invalid_argument_that_names_the_field(
    world: GatewayWorld, request_: pb.CreateJobRequest, reason: str, field: str
) -> None:
    code, told = await error_of(world.rpc.call("CreateJob", request_))
    assert (code, told.reason, told.field) == ("INVALID_ARGUMENT", reason, field)
    assert await world.waiting() == 0


@pytest.mark.parametrize(
    "method", ["CreateJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob", "StreamJobEvents"]
)
async def test_bytes_that_are_no_message_are_an_invalid_argument(
    world: GatewayWorld, method: str
) -> None:
    """A client built against other protos must learn that the fault is its own."""
    path = f"/tidegate.v1.JobService/{method}"
    garbage, metadata = b"\x0a\xff\xff\xff\xff\x0f", world.rpc.metadata

    async def call() -> None:
        channel: Any = world.rpc.channel
        if method == "StreamJobEvents":
            async for _ in channel.unary_stream(path)(garbage, metadata=metadata):
                pass
        else:
            await channel.unary_unary(path)(garbage, metadata=metadata)

    code, told = await error_of(call())
    assert (code, told.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


def big_chat(size: int) -> bytes:
    content = "x" * size
    return msgspec.json.encode(CHAT | {"messages": [{"role": "user", "content": content}]})


async def test_a_prompt_over_the_bound_is_refused_with_the_bound(world: GatewayWorld) -> None:
    bound = world.peer.client.max_payload - 16 * 1024
    chat = big_chat(bound)
    status, error = await post(world, data=b'{"request":' + chat + b"}")
    assert (status, error["code"]) == (413, "request_too_large")
    assert str(bound) in error["message"]
    code, told = await error_of(world.rpc.call("CreateJob", pb.CreateJobRequest(chat_json=chat)))
    assert (code, told.reason) == ("INVALID_ARGUMENT", "REQUEST_TOO_LARGE")
    assert str(bound) in told.message


@pytest.mark.parametrize("config", ["", "max_payload: 8MB"])
async def test_a_prompt_just_below_the_bound_is_accepted_and_found(
    tmp_path: Path, config: str
) -> None:
    """The bound is of use only if what it lets in can be stored, read, listed and ended."""
    async with (
        NatsServer(tmp_path, config=config) as nats_server,
        GatewayWorld(nats_server, tmp_path) as world,
    ):
        bound = world.peer.client.max_payload - 16 * 1024
        chat = big_chat(bound - len(big_chat(0)))
        assert len(chat) == bound
        request = pb.CreateJobRequest(chat_json=chat, request_id="x" * 128)
        job = (await world.rpc.call("CreateJob", request)).job
        assert (await world.rpc.call("CreateJob", request)).job.id == job.id
        assert (await world.get(job.id))["state"] == "queued"
        page = await world.rpc.call("ListJobs", pb.ListJobsRequest())
        assert [each.id for each in page.jobs] == [job.id]
        cancelled = await world.rpc.call("CancelJob", pb.CancelJobRequest(job_id=job.id))
        assert cancelled.job.state == pb.JOB_STATE_CANCELLED
        assert await world.waiting() == 0


@pytest.mark.parametrize("with_length", [True, False])
async def test_fifty_megabytes_are_refused_before_they_are_read(
    world: GatewayWorld, with_length: bool
) -> None:
    """Else a few such bodies at once would take the gateway's memory."""
    chunk, sent = b" " * 65_536, 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(50 * 16):
            sent += len(chunk)
            yield chunk

    headers = {"Content-Length": str(50 * 16 * len(chunk))} if with_length else {}
    status, error = await post(world, data=body(), headers=headers)
    assert (status, error["code"]) == (413, "request_too_large")
    assert str(world.peer.client.max_payload - 16 * 1024) in error["message"]
    assert sent < 50 * 16 * len(chunk)
    assert await world.create()


CALLS: list[tuple[str, Any]] = [
    ("GetJob", pb.GetJobRequest),
    ("CancelJob", pb.CancelJobRequest),
    ("DeleteJob", pb.DeleteJobRequest),
]
PATHS = [
    ("GET", "/v1/jobs/{}"),
    ("POST", "/v1/jobs/{}/cancel"),
    ("DELETE", "/v1/jobs/{}"),
]


@pytest.mark.parametrize("key", [None, "tg_unknown", "tidegate-dev"])
async def test_without_a_known_key_nothing_is_answered(
    world: GatewayWorld, key: str | None
) -> None:
    job_id = (await world.create())["id"]
    async with world.client(world.gateway, key) as http:
        paths = [(verb, path.format(job_id)) for verb, path in PATHS]
        for verb, path in [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), *paths]:
            async with http.request(verb, path) as response:
                assert response.status == 401, path
                assert (await response.json())["error"]["code"] == "unauthenticated"
    async with Rpc(world.gateway, key) as rpc:
        requests = [(name, kind(job_id=job_id)) for name, kind in CALLS]
        requests += [("CreateJob", pb.CreateJobRequest()), ("ListJobs", pb.ListJobsRequest())]
        for name, request in requests:
            code, told = await error_of(rpc.call(name, request))
            assert (code, told.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED"), name
        code, _ = await error_of(drained(rpc, job_id))
        assert code == "UNAUTHENTICATED"


async def drained(rpc: Rpc, job_id: str) -> None:
    async for _ in rpc.stream(pb.StreamJobEventsRequest(job_id=job_id)):
        pass


@pytest.mark.parametrize("finished", [False, True])
async def test_another_tenants_job_looks_like_one_that_never_was(
    world: GatewayWorld, finished: bool
) -> None:
    job_id = (await world.create())["id"]
    if finished:
        await (await world.worker_plays(job_id)).seal(completed())
    answers: dict[str, list[Any]] = {}
    ids = [job_id, new_job_id(), "nonsense", "job_" + "A" * 26, "*", "a b", "ä"]
    async with (
        world.client(world.gateway, world.stranger) as http,
        Rpc(world.gateway, world.stranger) as rpc,
    ):
        for each in ids:
            for verb, path in PATHS:
                async with http.request(verb, path.format(each)) as response:
                    answers.setdefault(f"{verb} {path}", []).append(
                        (response.status, await response.json())
                    )
            for name, kind in CALLS:
                code, told = await error_of(rpc.call(name, kind(job_id=each)))
                answers.setdefault(name, []).append((code, told.reason, told.message))
            code, told = await error_of(drained(rpc, each))
            answers.setdefault("stream", []).append((code, told.reason, told.message))
        async with http.get("/v1/jobs") as response:
            assert (await response.json())["jobs"] == []
        assert not (await rpc.call("ListJobs", pb.ListJobsRequest())).jobs
    for call, told_each in answers.items():
        assert all(told == told_each[0] for told in told_each), call
        assert told_each[0][0] in (404, "NOT_FOUND"), call
    assert (await world.get(job_id))["state"] == ("completed" if finished else "queued")


async def test_a_revoked_key_is_refused_within_seconds(world: GatewayWorld) -> None:
    world.keys_file.write_text("", encoding="utf-8")
    while True:
        async with world.http.get("/v1/jobs") as response:
            if response.status == 401:
                return
        await asyncio.sleep(0.05)


async def test_discovery_needs_no_key_and_names_every_door(world: GatewayWorld) -> None:
    async with (
        world.client(world.gateway, None) as http,
        http.get("/.well-known/tidegate") as response,
    ):
        told = await response.json()
    assert told["models"] == ["sim-1", "sim-2"]
    assert {"grpc", "websocket", "sse", "version"} <= told.keys()


async def test_a_method_that_is_not_there_is_unimplemented(world: GatewayWorld) -> None:
    call: Any = world.rpc.channel.unary_unary("/tidegate.v1.JobService/Nothing")
    error = await refused(call(b"", metadata=world.rpc.metadata))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
