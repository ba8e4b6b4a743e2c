"""The cache behind the gateway: who asks it, with which key, and what a delete takes along.

A scripted cache stands behind it here, for faults and for what the gateway says to it.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, TENANT, GatewayWorld, Rpc, refused
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache
from tidegate.chassis.grpc_errors import abort, from_rpc_error
from tidegate.contracts.errors import InternalError, Reason, TidegateError, Unauthenticated
from tidegate.contracts.events import CacheMark, Completed, Timings, Usage
from tidegate.v1 import cache_pb2 as pb
from tidegate.v1 import jobs_pb2

SEMANTIC = CacheMark("semantic", 0.953, 90_250, "job_" + "s" * 26, "entry-1")
ENTRY = {"entry_id": "entry-1"}
CALLS: dict[str, Any] = {
    "GET stats": None,
    "POST explain": {"request": CHAT},
    "POST invalidate": ENTRY,
    "POST feedback": ENTRY | {"wrong": True},
}
Answer = tuple[int, Any, dict[str, str]]


class CacheStub(ScriptedCache):
    """Answers callers too, always the same, and keeps what it was asked."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.asked: list[Any] = []
        self.keys: list[str] = []
        self.refusing: TidegateError | None = None
        self.on_invalidate = asyncio.Event()
        self.on_invalidate.set()

    @property
    def gateway_settings(self) -> dict[str, Any]:
        named = ("cache_target", "cache_key_file")
        return {name: self.settings[name] for name in named}

    @property
    def fleet(self) -> str:
        return self._key.authorization

    async def _take(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        metadata = dict(context.invocation_metadata() or ())
        self.keys.append(str(metadata.get("authorization")))
        if self.refusing is not None:
            await abort(context, self.refusing)

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        await self._take(request, context)
        return pb.GetStatsResponse(entries=7, store="embedded", threshold_set=0.92, threshold=0.93)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        await self._take(request, context)
        return pb.ExplainResponse(outcome=pb.LOOKUP_OUTCOME_MISS, reason="nothing_stored")

    async def Invalidate(
        self, request: pb.InvalidateRequest, context: Any
    ) -> pb.InvalidateResponse:
        await self._take(request, context)
        await self.on_invalidate.wait()
        return pb.InvalidateResponse(removed=3)

    async def ReportFeedback(
        self, request: pb.ReportFeedbackRequest, context: Any
    ) -> pb.ReportFeedbackResponse:
        await self._take(request, context)
        return pb.ReportFeedbackResponse(removed=request.wrong)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[CacheStub]:
    async with CacheStub(tmp_path) as made:
        yield made


@pytest.fixture
async def world(
    nats_server: NatsServer, tmp_path: Path, cache: CacheStub
) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path, **cache.gateway_settings) as made:
        yield made


async def call(world: GatewayWorld, name: str, body: Any = None) -> Answer:
    """An answer of `/v1/cache`: status, JSON and headers."""
    method, path = name.split()
    async with world.http.request(method, f"/v1/cache/{path}", json=body) as response:
        return response.status, await response.json(), dict(response.headers)


async def delete(world: GatewayWorld, job_id: str) -> int:
    async with world.http.delete(f"/v1/jobs/{job_id}") as response:
        return response.status


async def finished(world: GatewayWorld, *, queued: bool = False) -> str:
    """The id of a job that has ended; `queued`: its worker has not acknowledged that yet."""
    job_id: str = (await world.create())["id"]
    await (await world.worker_plays(job_id)).seal(completed())
    if not queued:
        await acknowledge(world, job_id)
    return job_id


async def acknowledge(world: GatewayWorld, job_id: str) -> None:
    stored = await world.peer.jetstream.last("JOBS", f"jobs.*.*.*.*.{job_id}")
    assert stored is not None
    await world.peer.jetstream.api("STREAM.MSG.DELETE.JOBS", {"seq": stored.sequence})


@pytest.mark.parametrize("name", CALLS)
async def test_callers_reach_it_with_their_own_key(
    world: GatewayWorld, cache: CacheStub, name: str
) -> None:
    """Which decides the tenant: the gateway's own key could name any."""
    status, _, _ = await call(world, name, CALLS[name])
    assert (status, cache.keys) == (200, [f"Bearer {world.key}"])


async def test_what_it_tells_is_passed_on(world: GatewayWorld) -> None:
    told = {"entries": 7, "store": "embedded", "threshold_set": 0.92, "threshold": 0.93}
    unknown = {"embedder": None, "shadowed": 0, "wrong": 0, "wrong_low": None, "wrong_high": None}
    assert (await call(world, "GET stats"))[1] == told | unknown
    _, explained, _ = await call(world, "POST explain", {"request": CHAT})
    assert (explained["outcome"], explained["reason"]) == ("miss", "nothing_stored")
    assert (explained["tier"], explained["threshold"], explained["candidates"]) == (None, None, [])
    assert (await call(world, "POST invalidate", ENTRY))[1] == {"removed": 3}


async def test_a_question_is_explained_as_its_job_would_carry_it(
    world: GatewayWorld, cache: CacheStub
) -> None:
    """Else what is explained would not be what happens."""
    await call(world, "POST explain", {"request": CHAT | {"stream": True}})
    job = await world.queued((await world.create(request=CHAT))["id"])
    [asked] = cache.asked
    assert (asked.model, asked.chat_json) == (job.model, bytes(job.request))


async def test_what_is_to_go_is_named_in_the_protocols_words(
    world: GatewayWorld, cache: CacheStub
) -> None:
    await call(world, "POST invalidate", {"model": "sim-1", "older_than_s": 90.5})
    await call(world, "POST invalidate", {"everything": True})
    some, everything = cache.asked
    assert (some.model, some.older_than.ToMilliseconds(), some.tenant) == ("sim-1", 90_500, "")
    assert everything.everything
    assert not everything.HasField("older_than")


async def test_an_answer_is_judged_by_the_job_that_had_it(
    world: GatewayWorld, cache: CacheStub
) -> None:
    job_id = (await world.create())["id"]
    hit = Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=1)
    await (await world.worker_plays(job_id, SEMANTIC)).seal(hit)
    told = await call(world, "POST feedback", {"job_id": job_id, "wrong": True})
    assert told[:2] == (200, {"entry_id": SEMANTIC.entry, "removed": True})
    assert cache.asked == [pb.ReportFeedbackRequest(entry_id=SEMANTIC.entry, wrong=True)]


async def test_a_job_that_had_no_answer_of_it_cannot_judge(
    world: GatewayWorld, cache: CacheStub
) -> None:
    job_id = await finished(world)
    status, body, _ = await call(world, "POST feedback", {"job_id": job_id, "wrong": True})
    assert (status, body["error"]["param"]) == (400, "job_id")
    other = "job_" + "a" * 26
    status, body, _ = await call(world, "POST feedback", {"job_id": other, "wrong": True})
    assert (status, body["error"]["code"]) == (404, "job_not_found")
    assert cache.asked == []


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("POST explain", {}, "request"),
        ("POST explain", {"request": {"model": "sim-1"}}, "request.messages"),
        ("POST explain", {"request": CHAT | {"colour": 1}}, "request.colour"),
        ("POST explain", {"question": "hi"}, "question"),
        ("POST invalidate", {}, "everything"),
        ("POST invalidate", {"everything": False}, "everything"),
        ("POST invalidate", {"entry_id": ""}, "entry_id"),
        ("POST invalidate", {"older_than_s": -1}, "older_than_s"),
        ("POST invalidate", {"tenant": "other", "everything": True}, "tenant"),
        ("POST feedback", ENTRY, "wrong"),
        ("POST feedback", {"wrong": True}, "entry_id"),
        ("POST feedback", ENTRY | {"job_id": "job_1", "wrong": True}, "entry_id"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_the_fields_name(
    world: GatewayWorld, cache: CacheStub, name: str, body: Any, param: str
) -> None:
    status, told, _ = await call(world, name, body)
    assert (status, told["error"]["param"]) == (400, param), told
    assert cache.asked == []


async def test_a_model_that_is_not_offered_has_nothing_to_explain(world: GatewayWorld) -> None:
    unknown = {"request": CHAT | {"model": "gone"}}
    status, body, _ = await call(world, "POST explain", unknown)
    assert (status, body["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", CALLS)
async def test_a_platform_without_it_says_so(
    nats_server: NatsServer, tmp_path: Path, name: str
) -> None:
    async with GatewayWorld(nats_server, tmp_path) as world:
        status, body, headers = await call(world, name, CALLS[name])
        assert (status, body["error"]["code"]) == (422, "cache_off")
        assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", CALLS)
async def test_while_it_is_away_callers_are_told_when_to_come_back(
    world: GatewayWorld, cache: CacheStub, name: str
) -> None:
    await cache.kill()
    status, body, headers = await call(world, name, CALLS[name])
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert headers["Retry-After"] == "1"


async def test_a_key_that_it_does_not_know_yet_is_not_called_wrong(
    world: GatewayWorld, cache: CacheStub
) -> None:
    """It looks at the file of keys a moment later than the gateway did."""
    cache.refusing = Unauthenticated("the API key is not known")
    status, body, headers = await call(world, "GET stats")
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert headers["Retry-After"] == "1"


async def test_a_browsers_token_does_not_reach_it(
    nats_server: NatsServer, tmp_path: Path, cache: CacheStub
) -> None:
    secret = tmp_path / "token-secret"
    secret.write_text("s" * 48, encoding="utf-8")
    settings = cache.gateway_settings | {"token_secret_file": secret}
    async with GatewayWorld(nats_server, tmp_path, **settings) as world:
        async with world.http.post("/v1/tokens", json={}) as response:
            token = (await response.json())["token"]
        async with world.client(world.gateway, token) as http:
            for name, body in CALLS.items():
                method, path = name.split()
                async with http.request(method, f"/v1/cache/{path}", json=body) as response:
                    assert response.status == 403
    assert cache.asked == []


async def test_a_deleted_job_takes_along_what_it_put_there(
    world: GatewayWorld, cache: CacheStub
) -> None:
    job_id = await finished(world)
    assert await delete(world, job_id) == 204
    assert cache.asked == [pb.InvalidateRequest(tenant=TENANT, job_id=job_id)]
    assert cache.keys == [cache.fleet]


async def test_a_delete_before_the_workers_last_word_is_told_once_more(
    world: GatewayWorld, cache: CacheStub
) -> None:
    """Its answer may have been on the way into the cache."""
    job_id = await finished(world, queued=True)
    assert await delete(world, job_id) == 204
    assert cache.asked == [pb.InvalidateRequest(tenant=TENANT, job_id=job_id)] * 2
    assert await world.nothing_waits()


async def test_what_was_asked_of_it_comes_before_the_log_goes(
    world: GatewayWorld, cache: CacheStub
) -> None:
    job_id = await finished(world)
    cache.on_invalidate.clear()
    async with asyncio.TaskGroup() as group:
        deleting = group.create_task(delete(world, job_id))
        while not cache.asked:
            await asyncio.sleep(0.01)
        assert (await world.get(job_id))["state"] == "completed"
        cache.on_invalidate.set()
        assert await deleting == 204


async def test_while_it_is_away_nothing_is_deleted_and_a_repeat_does_it_all(
    world: GatewayWorld, cache: CacheStub
) -> None:
    """A job that is gone while its answer is still served would be no delete."""
    job_id = await finished(world, queued=True)
    await cache.kill()
    async with world.http.delete(f"/v1/jobs/{job_id}") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    error = await refused(world.rpc.call("DeleteJob", jobs_pb2.DeleteJobRequest(job_id=job_id)))
    assert from_rpc_error(error).reason is Reason.UNAVAILABLE
    assert (await world.get(job_id))["state"] == "completed"
    assert await world.waiting() == 1
    await cache.start()
    while await delete(world, job_id) != 204:
        await asyncio.sleep(0.05)
    assert await delete(world, job_id) == 404


async def test_a_job_of_somebody_else_is_not_spoken_of(
    world: GatewayWorld, cache: CacheStub
) -> None:
    job_id = await finished(world)
    async with Rpc(world.gateway, world.stranger) as rpc:
        await refused(rpc.call("DeleteJob", jobs_pb2.DeleteJobRequest(job_id=job_id)))
    running = (await world.create())["id"]
    assert await delete(world, running) == 422
    assert cache.asked == []


@pytest.mark.parametrize("refusal", [Unauthenticated("not known"), InternalError("a fault")])
async def test_where_the_services_disagree_the_caller_is_not_blamed(
    world: GatewayWorld, cache: CacheStub, refusal: TidegateError
) -> None:
    job_id = await finished(world)
    cache.refusing = refusal
    assert await delete(world, job_id) == 503
    assert (await world.get(job_id))["state"] == "completed"
