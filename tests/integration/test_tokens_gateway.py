"""Tokens at the gateway: a page's token opens its own job, for a while, and nothing else."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from tests.support.gateway_world import CHAT, TENANT, GatewayWorld, Rpc, refused
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tidegate.chassis.tokens import Tokens
from tidegate.contracts.jobs import new_job_id
from tidegate.v1 import jobs_pb2 as pb

SECRET = b"not-for-anybodys-eyes-but-the-services"
ORIGIN = "https://app.example.com"
Answer = tuple[int, dict[str, Any]]

# What a token may do, of all that the two surfaces offer.
READING = {("GET", "/v1/jobs/{job_id}"), ("POST", "/v1/jobs/{job_id}/cancel")}
OPEN_TO_ALL = {("GET", "/.well-known/tidegate"), ("GET", "/openapi.json")}
READING_RPC = {"GetJob", "CancelJob", "StreamJobEvents"}


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    settings = {"token_secret_file": secret, "cors_origins": ORIGIN, "token_seconds": 120}
    async with GatewayWorld(nats_server, tmp_path, **settings) as made:
        yield made


async def ask(session: aiohttp.ClientSession, method: str, path: str, **more: Any) -> Answer:
    async with session.request(method, path, **more) as answer:
        body = await answer.json() if await answer.read() else {}
        return answer.status, body


async def token_for(world: GatewayWorld, **body: Any) -> str:
    status, token = await ask(world.http, "POST", "/v1/tokens", json=body)
    assert status == 201, token
    text: str = token["token"]
    return text


def code(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[1].get("error", {}).get("code", "")


async def test_a_key_makes_tokens_for_a_job_or_for_all(world: GatewayWorld) -> None:
    job = (await world.create())["id"]
    async with world.http.post("/v1/tokens", json={"job_id": job}) as answer:
        assert answer.status == 201
        assert answer.headers["Cache-Control"] == "no-store"
        made = await answer.json()
    assert set(made) == {"token", "expires_at", "job_id"}
    assert made["job_id"] == job
    assert 100 < made["expires_at"] - time.time() <= 120
    bearer = Tokens((SECRET,)).read(made["token"])
    assert (bearer.tenant, bearer.scope.job_id) == (TENANT, job)
    status, made = await ask(world.http, "POST", "/v1/tokens", json={})
    assert (status, made["job_id"]) == (201, None)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b'{"job_id": 7}', 400, "invalid_request"),
        (b'{"job_id": ""}', 400, "invalid_request"),
        (b'{"job_id": "job_nobodys"}', 404, "job_not_found"),
        (b'{"job_id": ">"}', 404, "job_not_found"),
        (b'{"job_id": "job_aaaaaaaaaaaaaaaaaaaaaaaaaa"}', 404, "job_not_found"),
        (b'{"seconds": 86400}', 400, "unsupported_field"),
    ],
)
async def test_a_token_is_asked_for_properly(
    world: GatewayWorld, body: bytes, status: int, reason: str
) -> None:
    """A body that was forgotten must not make a token for everything."""
    headers = {"Content-Type": "application/json"}
    answer = await ask(world.http, "POST", "/v1/tokens", data=body, headers=headers)
    assert code(answer) == (status, reason)


async def test_a_job_of_another_tenant_gets_no_token(world: GatewayWorld) -> None:
    job = (await world.create())["id"]
    async with world.client(world.gateway, world.stranger) as stranger:
        answer = await ask(stranger, "POST", "/v1/tokens", json={"job_id": job})
    assert code(answer) == (404, "job_not_found")
    async with world.client(world.gateway, None) as nobody:
        answer = await ask(nobody, "POST", "/v1/tokens", json={})
    assert code(answer) == (401, "unauthenticated")


async def test_a_token_reads_and_cancels_its_job_as_if_there_were_no_other(
    world: GatewayWorld,
) -> None:
    mine, other = (await world.create())["id"], (await world.create())["id"]
    token = await token_for(world, job_id=mine)
    async with world.client(world.gateway, token) as page:
        for job, missing in ((mine, False), (other, True), (new_job_id(), True)):
            for method, path in (("GET", ""), ("POST", "/cancel")):
                answer = await ask(page, method, f"/v1/jobs/{job}{path}")
                if missing:
                    assert code(answer) == (404, "job_not_found")
                    assert answer[1]["error"]["message"] == "no such job"
                else:
                    assert (answer[0], answer[1]["id"]) == (200, job)
        assert (await ask(page, "GET", f"/v1/jobs/{mine}"))[1]["state"] == "cancelled"
    assert (await world.get(other))["state"] == "queued"


async def test_a_token_without_a_job_reads_its_tenants_jobs_only(world: GatewayWorld) -> None:
    job = (await world.create())["id"]
    async with world.client(world.gateway, world.stranger) as stranger:
        theirs = (await ask(stranger, "POST", "/v1/jobs", json={"request": CHAT}))[1]["id"]
    async with world.client(world.gateway, await token_for(world)) as page:
        assert (await ask(page, "GET", f"/v1/jobs/{job}"))[0] == 200
        assert code(await ask(page, "GET", f"/v1/jobs/{theirs}")) == (404, "job_not_found")


async def test_a_token_does_nothing_else_over_http(world: GatewayWorld) -> None:
    """The routes are asked of the application, so that a new one is refused here or named above."""
    job = (await world.create())["id"]
    app = world.gateway.http._runner.app
    asked = set()
    async with world.client(world.gateway, await token_for(world)) as page:
        for route in app.router.routes():
            assert route.resource is not None
            path = route.resource.canonical
            offered = (route.method, path)
            if route.method == "HEAD" or offered in READING | OPEN_TO_ALL:
                continue
            asked.add(offered)
            url = path.replace("{job_id}", job).replace("{model}", "sim-1")
            body = {} if route.method in {"GET", "DELETE"} else {"json": {"request": CHAT}}
            answer = await ask(page, route.method, url, **body)
            assert code(answer) == (403, "permission_denied"), offered
    assert asked >= {
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs"),
        ("DELETE", "/v1/jobs/{job_id}"),
        ("POST", "/v1/tokens"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
    }


async def test_a_token_does_nothing_else_over_grpc(world: GatewayWorld) -> None:
    job = (await world.create())["id"]
    token = await token_for(world, job_id=job)
    service = pb.DESCRIPTOR.services_by_name["JobService"]
    async with Rpc(world.gateway, token) as page:
        for method in service.methods:
            request = getattr(pb, method.input_type.name)()
            if method.name in READING_RPC:
                continue
            error = await refused(page.call(method.name, request))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED, method.name
        assert (await page.call("GetJob", pb.GetJobRequest(job_id=job))).job.id == job


async def test_a_token_streams_and_cancels_its_job_over_grpc(world: GatewayWorld) -> None:
    mine, other = (await world.create())["id"], (await world.create())["id"]
    async with Rpc(world.gateway, await token_for(world, job_id=mine)) as page:
        for kind in ("GetJob", "CancelJob"):
            request = getattr(pb, f"{kind}Request")(job_id=other)
            error = await refused(page.call(kind, request))
            assert error.code() is grpc.StatusCode.NOT_FOUND
        stream = page.stream(pb.StreamJobEventsRequest(job_id=other))
        with pytest.raises(grpc.aio.AioRpcError) as error_of_stream:
            await stream.read()
        assert error_of_stream.value.code() is grpc.StatusCode.NOT_FOUND
        await (await world.worker_plays(mine)).seal(completed())
        events = [
            answer.event async for answer in page.stream(pb.StreamJobEventsRequest(job_id=mine))
        ]
        assert events[-1].WhichOneof("event") == "completed"
        assert (await page.call("CancelJob", pb.CancelJobRequest(job_id=mine))).job.id == mine


async def test_a_token_that_is_over_or_of_others_opens_nothing(world: GatewayWorld) -> None:
    job = (await world.create())["id"]
    bearer = Tokens((SECRET,)).read(await token_for(world))
    late, _ = Tokens((SECRET,)).make(TENANT, bearer.key_id, job_id=None, seconds=-60)
    foreign, _ = Tokens((b"x" * 32,)).make(TENANT, bearer.key_id, job_id=None, seconds=60)
    unknown, _ = Tokens((SECRET,)).make(TENANT, "key_of_nobody", job_id=None, seconds=60)
    for token, says in ((late, "expired"), (foreign, "not valid"), (unknown, "not known any more")):
        async with world.client(world.gateway, token) as page:
            status, body = await ask(page, "GET", f"/v1/jobs/{job}")
        assert (status, body["error"]["code"]) == (401, "unauthenticated")
        assert says in body["error"]["message"]
        assert token not in str(body)
        async with Rpc(world.gateway, token) as rpc:
            error = await refused(rpc.call("GetJob", pb.GetJobRequest(job_id=job)))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_in_a_url_is_refused_and_not_repeated(world: GatewayWorld) -> None:
    job, token = (await world.create())["id"], await token_for(world)
    for name in ("token", "x"):
        answer = await ask(world.http, "GET", f"/v1/jobs/{job}?{name}={token}")
        assert code(answer) == (400, "invalid_request")
        assert "does not belong in a URL" in answer[1]["error"]["message"]
        assert token not in str(answer)


async def test_where_tokens_are_off_the_setting_is_named(
    world: GatewayWorld, nats_server: NatsServer
) -> None:
    token = await token_for(world)
    without = await world.start_gateway(token_secret_file=None)
    async with world.client(without, world.key) as http:
        status, body = await ask(http, "POST", "/v1/tokens", json={})
    assert (status, body["error"]["code"]) == (422, "tokens_off")
    assert "TIDEGATE_TOKEN_SECRET_FILE" in body["error"]["message"]
    async with world.client(without, token) as page:
        status, body = await ask(page, "GET", "/v1/jobs/x")
    assert status == 401
    assert "TIDEGATE_TOKEN_SECRET_FILE" in body["error"]["message"]


async def test_a_page_of_an_allowed_origin_can_call(world: GatewayWorld) -> None:
    page = {"Origin": ORIGIN}
    preflight = page | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with world.http.options("/v1/chat/completions", headers=preflight) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    async with world.http.get("/v1/jobs/x", headers=page) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, ORIGIN)
    async with world.http.get("/v1/jobs/x", headers={"Origin": "https://evil.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
