"""A real cache behind the gateway: what its callers see of it, and what is theirs to remove."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.support.cache_world import CacheWorld
from tests.support.gateway_world import TENANT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tidegate.chassis.keyring import new_key
from tidegate.contracts.events import CacheMark, Completed, Timings, Usage
from tidegate.contracts.jobs import new_job_id
from tidegate.gateway.openapi import openapi_document
from tidegate.v1 import cache_pb2 as pb

MODEL = "sim-1"
QUESTION = "How do I reset my password?"
REWORDED = "How can I reset my password?"
LOOK_ALIKE = "How do I reset my password on Monday?"
DOCUMENT = openapi_document()


@pytest.fixture
async def cache(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[CacheWorld]:
    async with CacheWorld(nats_server, tmp_path) as made:
        yield made


@pytest.fixture
async def world(
    nats_server: NatsServer, tmp_path: Path, cache: CacheWorld
) -> AsyncIterator[GatewayWorld]:
    """Its keys are in the file that the cache reads too."""
    async with GatewayWorld(
        nats_server,
        tmp_path,
        cache_target=str(cache.cache.grpc.address),
        cache_key_file=cache.key_file,
    ) as made:
        await until(lambda: knows_us(made))
        yield made


async def knows_us(world: GatewayWorld) -> bool:
    """Whether the cache has looked at its file of keys since ours were made."""
    async with world.http.get("/v1/cache/stats") as response:
        assert response.status in {200, 503}
        return response.status == 200


def chat(question: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]}


async def call(
    world: GatewayWorld, method: str, path: str, body: Any = None, key: str | None = None
) -> Any:
    """What a tenant is told, which is as the document says."""
    async with (
        world.client(world.gateway, key or world.key) as http,
        http.request(method, f"/v1/cache/{path}", json=body) as response,
    ):
        told = await response.json()
        assert response.status == 200, told
    operation = DOCUMENT["paths"][f"/v1/cache/{path}"][method.lower()]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema_rs.validate(DOCUMENT | reference, told)
    return told


async def explain(world: GatewayWorld, question: str, key: str | None = None) -> Any:
    return await call(world, "POST", "explain", {"request": chat(question)}, key)


async def entries(world: GatewayWorld) -> int:
    return int((await call(world, "GET", "stats"))["entries"])


async def test_statistics_are_the_tenants_own(world: GatewayWorld, cache: CacheWorld) -> None:
    for number in range(3):
        await cache.store(f"What is {number}?", "A number.")
    await cache.store(QUESTION, "No.", tenant="stranger")
    stats = await call(world, "GET", "stats")
    assert (stats["entries"], stats["store"]) == (3, "embedded")
    assert stats["embedder"].startswith("minilm")
    assert stats["threshold"] == stats["threshold_set"] == 0.92
    assert (stats["shadowed"], stats["wrong"], stats["wrong_low"]) == (0, 0, None)


async def test_an_explanation_says_what_would_be_served_and_what_not(
    world: GatewayWorld, cache: CacheWorld
) -> None:
    job = new_job_id()
    await cache.store(QUESTION, "Open the settings.", job_id=job)
    same = await explain(world, QUESTION)
    assert (same["outcome"], same["tier"], same["reason"]) == ("hit", "exact", None)
    like = await explain(world, REWORDED)
    assert (like["outcome"], like["tier"]) == ("hit", "semantic")
    assert like["scope"]["model"] == MODEL
    assert 0 < like["embedder_threshold"] < like["threshold"] == 0.92
    [served] = like["candidates"]
    assert (served["verdict"], served["job_id"]) == ("served", job)
    assert served["score"] > like["embedder_threshold"]
    assert served["age_s"] >= 0
    other = await explain(world, LOOK_ALIKE)
    assert (other["outcome"], other["tier"]) == ("miss", None)
    assert other["candidates"][0]["objections"]
    nothing = await explain(world, QUESTION, world.stranger)
    assert (nothing["reason"], nothing["candidates"]) == ("nothing_stored", [])
    assert await entries(world) == 1


async def test_a_request_that_cannot_be_cached_is_explained_too(world: GatewayWorld) -> None:
    hot = {"request": chat(QUESTION) | {"temperature": 1.5}}
    told = await call(world, "POST", "explain", hot)
    assert (told["outcome"], told["reason"]) == ("bypass", "temperature")
    assert (told["threshold"], told["scope"]) == (None, {})


@pytest.mark.parametrize("by", ["job_id", "entry_id", "model", "older_than_s", "everything"])
async def test_a_tenant_removes_its_own_and_nobody_elses(
    world: GatewayWorld, cache: CacheWorld, by: str
) -> None:
    job = new_job_id()
    await cache.store(QUESTION, "Open the settings.", job_id=job)
    [candidate] = (await explain(world, REWORDED))["candidates"]
    chosen = {
        "job_id": job,
        "entry_id": candidate["entry_id"],
        "model": MODEL,
        "older_than_s": 0,
        "everything": True,
    }[by]
    stranger = await call(world, "POST", "invalidate", {by: chosen}, world.stranger)
    assert stranger == {"removed": 0}
    older = await call(world, "POST", "invalidate", {by: chosen, "older_than_s": 3600})
    assert (older, await entries(world)) == ({"removed": 0}, 1)
    assert await call(world, "POST", "invalidate", {by: chosen}) == {"removed": 1}
    assert await entries(world) == 0


async def test_a_wrong_answer_goes_and_is_counted(world: GatewayWorld, cache: CacheWorld) -> None:
    await cache.store(QUESTION, "Open the settings.")
    found = await cache.lookup(REWORDED)
    job_id = (await world.create(request=chat(REWORDED)))["id"]
    mark = CacheMark("semantic", found.score, 0, found.answer.job_id, found.answer.entry_id)
    hit = Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=700)
    await (await world.worker_plays(job_id, mark)).seal(hit)
    right = {"job_id": job_id, "wrong": False}
    assert (await call(world, "POST", "feedback", right))["removed"] is False
    assert (await cache.lookup(REWORDED)).outcome == pb.LOOKUP_OUTCOME_HIT
    wrong = {"job_id": job_id, "wrong": True}
    told = await call(world, "POST", "feedback", wrong)
    assert told == {"entry_id": found.answer.entry_id, "removed": True}
    assert (await cache.lookup(REWORDED)).outcome == pb.LOOKUP_OUTCOME_MISS
    assert (await call(world, "GET", "stats"))["wrong"] == 1
    assert (await call(world, "POST", "feedback", wrong))["removed"] is False


async def test_a_deleted_jobs_answer_is_served_to_nobody_any_more(
    world: GatewayWorld, cache: CacheWorld
) -> None:
    """Not even where the worker hands it over after the delete."""
    job_id = (await world.create(request=chat(QUESTION)))["id"]
    await (await world.worker_plays(job_id)).seal(completed())
    kept = new_job_id()
    await cache.store(QUESTION, "Open the settings.", job_id=job_id)
    await cache.store("What is a tide gate?", "A gate.", job_id=kept)
    assert (await cache.lookup(REWORDED)).outcome == pb.LOOKUP_OUTCOME_HIT
    async with world.http.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    late = await cache.store(QUESTION, "Open the settings.", job_id=job_id)
    assert (late.stored, late.reason) == (False, "deleted")
    assert (await cache.lookup(QUESTION)).outcome == pb.LOOKUP_OUTCOME_MISS
    assert await entries(world) == 1


async def test_a_key_that_was_made_a_moment_ago_is_known_a_moment_later(
    world: GatewayWorld,
) -> None:
    """Both look at the file each second; who is known to one of them only is asked to wait."""
    key = new_key(world.keys_file, TENANT)

    async def status() -> int:
        async with (
            world.client(world.gateway, key) as http,
            http.get("/v1/cache/stats") as response,
        ):
            assert response.status in {200, 401, 503}
            return response.status if response.status == 200 else 0

    assert await until(status) == 200
