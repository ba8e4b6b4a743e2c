"""What stands around a body: paths, methods, queries and headers are obeyed or refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.gateway_world import CHAT, GatewayWorld, Rpc, refused
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.create import FIELD_NAMES_KEY
from tidegate.v1 import jobs_pb2 as pb


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


async def test_an_unknown_path_and_a_wrong_method_are_reasons_of_the_taxonomy(
    world: GatewayWorld,
) -> None:
    """Whoever mistypes a path must not look for a lost job."""
    for verb, path, status, code in [
        ("GET", "/v1/nothing", 404, "route_not_found"),
        ("GET", "/v1/jobs/", 404, "route_not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
    ]:
        async with world.http.request(verb, path) as response:
            assert response.status == status
            assert (await response.json())["error"]["code"] == code
            assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("verb", "path", "offered"),
    [
        ("POST", "/v1/jobs", ""),
        ("GET", "/v1/jobs", "page_size=1&page_token=&"),
        ("GET", "/v1/jobs/{}", ""),
        ("POST", "/v1/jobs/{}/cancel", ""),
        ("DELETE", "/v1/jobs/{}", ""),
        ("GET", "/.well-known/tidegate", ""),
    ],
)
async def test_what_stands_in_a_url_is_obeyed_or_refused(
    world: GatewayWorld, verb: str, path: str, offered: str
) -> None:
    """A filter that is ignored shows the wrong jobs; a key in a URL is in every log on its way."""
    job_id = (await world.create())["id"]
    for query, code, field in [
        ("state=failed", "unsupported_field", "state"),
        ("api_key=x", "invalid_request", None),
        (f"x={world.key}", "invalid_request", None),
        ("%ff=1", "unsupported_field", "\ufffd"),
    ]:
        url = f"{path.format(job_id)}?{offered}{query}"
        async with world.http.request(verb, url, json={"request": CHAT}) as response:
            error = (await response.json())["error"]
        assert (response.status, error["code"], error["param"]) == (400, code, field)
        assert ("does not belong in a URL" in error["message"]) == (field is None)
        assert world.key not in error["message"]
    assert (await world.get(job_id))["state"] == "queued"
    assert await world.waiting() == 1


async def test_two_keys_on_one_request_are_refused(world: GatewayWorld) -> None:
    """Else the caller would not know which of its tenants pays."""
    both = [("Authorization", f"Bearer {key}") for key in (world.key, world.stranger)]
    async with world.client(world.gateway, None) as http:
        for verb, path in [("GET", "/v1/jobs"), ("POST", "/v1/jobs")]:
            async with http.request(verb, path, headers=both) as response:
                assert response.status == 400
                message = (await response.json())["error"]["message"]
                assert message == "there is more than one Authorization header"
    async with Rpc(world.gateway, world.key) as rpc:
        rpc.metadata = (*rpc.metadata, ("authorization", f"Bearer {world.stranger}"))
        error = await refused(rpc.call("ListJobs", pb.ListJobsRequest()))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert from_rpc_error(error).field == "authorization"


@pytest.mark.parametrize(
    ("chat", "ttl", "plain", "json"),
    [
        (CHAT | {"n": 2}, 60, "chat_json.n", "request.n"),
        (CHAT | {"model": "none"}, 60, "chat_json.model", "request.model"),
        (CHAT, 10**8, "ttl", "ttl_s"),
    ],
)
async def test_a_caller_that_speaks_for_json_is_told_of_fields_in_its_names(
    world: GatewayWorld, chat: dict[str, Any], ttl: int, plain: str, json: str
) -> None:
    """Whoever creates over a socket never heard of `chat_json`, and could not find it."""
    request = pb.CreateJobRequest(chat_json=msgspec.json.encode(chat), ttl=Duration(seconds=ttl))
    error = from_rpc_error(await refused(world.rpc.call("CreateJob", request)))
    assert error.field == plain
    world.rpc.metadata = (*world.rpc.metadata, (FIELD_NAMES_KEY, "json"))
    error = from_rpc_error(await refused(world.rpc.call("CreateJob", request)))
    assert error.field == json
    assert "chat_json" not in error.message
    assert error.message.startswith((json, "there is no model"))
