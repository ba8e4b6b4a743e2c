"""The HTTP API against the document that it serves: what schemathesis makes of it breaks nothing.

Its requests are the same on every run. A worker answers whatever job they make.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.cache_world import CacheWorld
from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tidegate.contracts.chat import FIELDS
from tidegate.contracts.events import Delta
from tidegate.contracts.subjects import JOBS_STREAM, tenant_and_job
from tidegate.eventlog.appender import FencedError
from tidegate.gateway.openapi_paths import OPERATIONS

pytestmark = [
    pytest.mark.timeout(180),
    # The gateway draws random numbers meanwhile, on the event loop's thread.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
SECONDS = 20  # until an answer is taken for one that hangs


@pytest.fixture
async def cache(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """What a gateway has to know of a cache that runs."""
    async with CacheWorld(nats_server, tmp_path, cache_embedder="none") as made:
        yield {"cache_target": str(made.cache.grpc.address), "cache_key_file": made.key_file}


@pytest.fixture
async def world(
    nats_server: NatsServer, tmp_path: Path, cache: dict[str, Any]
) -> AsyncIterator[GatewayWorld]:
    settings = cache | {"stream_headers_seconds": 0.5}
    async with GatewayWorld(nats_server, tmp_path, **settings) as world:
        await until(partial(is_known_to_the_cache, world))
        worker = asyncio.create_task(answer_all(world))
        yield world
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def is_known_to_the_cache(world: GatewayWorld) -> bool:
    """Whether it has looked at its file of keys since the world's were made."""
    async with world.http.get("/v1/cache/stats") as response:
        return response.status == 200


async def answer_all(world: GatewayWorld) -> None:
    """A worker that answers every job at once."""
    position = 0
    while True:
        stored = await world.peer.jetstream.next(JOBS_STREAM, "jobs.>", position + 1)
        if stored is None:
            await asyncio.sleep(0.02)
            continue
        position = stored.sequence
        _, job_id = tenant_and_job(stored.subject)
        # Cancelled or deleted meanwhile: those are requests, too.
        with contextlib.suppress(FencedError, AssertionError, RuntimeError):
            writer = await world.worker_plays(job_id)
            writer.emit(Delta("answered"))
            await writer.seal(completed())


def sensible(body: Any) -> None:
    """Makes of a chat one that can be answered, whatever else it asks for."""
    for part in (body, body.get("request") if isinstance(body, dict) else None):
        if isinstance(part, dict) and "messages" in part:
            part |= {"model": "sim-1", "messages": CHAT["messages"]}
            for name in part.keys() - FIELDS:
                del part[name]


def run(world: GatewayWorld, method: str, path: str, mode: GenerationMode) -> Counter[int]:
    """Sends the examples of one operation, in a thread; the statuses they were answered with."""
    base = f"http://{world.gateway.http.address}"
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(schema[path][method].as_strategy(generation_mode=mode))
    def examples(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            sensible(case.body)
        headers = {"Authorization": f"Bearer {world.key}"}
        response = case.call(base_url=base, headers=headers, timeout=SECONDS)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    examples()
    return statuses


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_no_request_breaks_the_api_or_is_answered_otherwise_than_documented(
    world: GatewayWorld, mode: GenerationMode
) -> None:
    answers = {}
    for operation in OPERATIONS:
        name = (operation.method.upper(), operation.path)
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.parameters):
            continue  # There is nothing in it that could be wrong.
        answers[name] = await asyncio.to_thread(run, world, *name, mode)
    assert all(answers.values()), answers
    if mode is GenerationMode.POSITIVE:
        # Not everything was refused at the door.
        assert answers["POST", "/v1/chat/completions"][200], answers
        assert answers["POST", "/v1/jobs"][202], answers
        assert answers["POST", "/v1/cache/explain"][200], answers
