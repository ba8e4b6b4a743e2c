"""Embeddings through the gateway: called directly, by the same routes, breakers and accounting."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.nats_server import NatsServer
from tests.support.simulated import simulator
from tidegate.chassis.component import Deadline

URL = "/v1/embeddings"
MODEL = "embed"
ASK: dict[str, Any] = {"model": MODEL, "input": "the tide"}


class EmbeddingsWorld(GatewayWorld):
    """`provider` is the first target's control API, `base_url` where the API itself is."""

    provider: aiohttp.ClientSession
    base_url: str

    async def fault(self, **fault: Any) -> None:
        """Has the provider misbehave at embeddings."""
        body = {"endpoint": "embeddings"} | fault
        async with self.provider.post("/faults", json=body) as response:
            assert response.status == 200, await response.text()

    async def calls(self) -> int:
        """How many calls reached the provider."""
        async with self.provider.get("/stats") as response:
            return len((await response.json())["calls"])

    async def ask(self, **body: Any) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
        """Status, body, and the response for its headers."""
        async with self.http.post(URL, json=ASK | body) as response:
            return response.status, await response.json(), response

    async def refused(self, **body: Any) -> tuple[int, str, str | None]:
        """Status, code and param of an error."""
        status, answer, response = await self.ask(**body)
        assert response.headers["x-request-id"]
        error = answer["error"]
        return status, error["code"], error["param"]


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[EmbeddingsWorld]:
    provider = simulator()
    await provider.start()
    routes = tmp_path / "with-embeddings.yaml"
    routes.write_text(
        f"""
providers:
  sim: {{base_url: "http://{provider.address}/v1"}}
models:
  sim-1: {{queue: default, targets: [{{provider: sim, model: sim-small}}]}}
  {MODEL}:
    kind: embeddings
    extra_body: [truncate]
    targets:
      - provider: sim
        model: sim-embedding
        price: {{input: 0.02, output: 0}}
  unpriced: {{kind: embeddings, targets: [{{provider: sim, model: sim-embedding}}]}}
""",
        encoding="utf-8",
    )
    settings = {"routes_file": routes, "max_embeddings_per_tenant": 2, "embeddings_seconds": 20.0}
    try:
        async with (
            EmbeddingsWorld(nats_server, tmp_path, **settings) as world,
            aiohttp.ClientSession(f"http://{provider.address}") as world.provider,
        ):
            world.base_url = f"http://{world.gateway.http.address}/v1"
            yield world
    finally:
        await provider.stop(Deadline(1))


async def test_the_stock_client_gets_its_vectors(world: EmbeddingsWorld) -> None:
    async with AsyncOpenAI(
        api_key=world.key, base_url=world.base_url, max_retries=0, _strict_response_validation=True
    ) as client:
        create = partial(client.embeddings.create, model=MODEL, encoding_format="float")
        one = await create(input="the tide")
        two = await create(input=["the tide", "turns"])
        tokens = await create(input=[[1, 2], [3]], dimensions=8)
    # Left to itself it asks for base64, which its own strict validation does not take.
    async with AsyncOpenAI(api_key=world.key, base_url=world.base_url, max_retries=0) as client:
        packed = await client.embeddings.create(model=MODEL, input="the tide")
    assert one.model == MODEL
    assert one.usage.total_tokens == one.usage.prompt_tokens > 0
    assert packed.data[0].embedding == pytest.approx(one.data[0].embedding, abs=1e-6)
    assert two.data[0].embedding == one.data[0].embedding
    assert [each.index for each in two.data] == [0, 1]
    assert [len(each.embedding) for each in tokens.data] == [8, 8]
    assert await world.metric(
        f'tidegate_gateway_embeddings_total{{model="{MODEL}",outcome="ok"}} 4.0'
    )


async def test_what_it_cost_is_counted_or_that_nobody_knows(world: EmbeddingsWorld) -> None:
    _, answer, _ = await world.ask()
    spent = answer["usage"]["prompt_tokens"] * 20.0  # nano-USD for a token at 0.02 USD a million
    counter = "tidegate_gateway_embeddings_cost_nano_usd_total"
    assert await world.metric(f'{counter}{{model="{MODEL}"}} {spent}')
    await world.ask(model="unpriced")
    counter = "tidegate_gateway_embeddings_unpriced_total"
    assert await world.metric(f'{counter}{{model="unpriced"}} 1.0')


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "gpt-x"}, (404, "model_not_found", "model")),
        ({"model": "sim-1"}, (400, "invalid_request", "model")),
        ({"model": ""}, (400, "invalid_request", "model")),
        ({"input": ""}, (400, "invalid_request", "input")),
        ({"input": []}, (400, "invalid_request", "input")),
        ({"input": ["a", ""]}, (400, "invalid_request", "input")),
        ({"input": ["a", 1]}, (400, "invalid_request", "input")),
        ({"input": [[1], []]}, (400, "invalid_request", "input")),
        ({"input": [-1]}, (400, "invalid_request", "input[0]")),
        ({"input": ["a"] * 2049}, (400, "invalid_request", "input")),
        ({"input": {"text": "a"}}, (400, "invalid_request", "input")),
        ({"input": None}, (400, "invalid_request", "input")),
        ({"dimensions": 0}, (400, "invalid_request", "dimensions")),
        ({"encoding_format": "hex"}, (400, "invalid_request", "encoding_format")),
        ({"user": 5}, (400, "invalid_request", "user")),
        ({"pooling": "mean"}, (400, "unsupported_field", "pooling")),
    ],
)
async def test_what_cannot_be_asked_is_a_400_that_names_it(
    world: EmbeddingsWorld, change: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    assert await world.refused(**change) == expected
    assert await world.calls() == 0


async def test_an_extra_parameter_passes_where_the_route_lets_it(world: EmbeddingsWorld) -> None:
    status, _, _ = await world.ask(truncate="END")
    assert status == 200


async def test_a_model_of_embeddings_does_not_chat(world: EmbeddingsWorld) -> None:
    for path, body in [
        ("/v1/chat/completions", CHAT | {"model": MODEL}),
        ("/v1/jobs", {"request": CHAT | {"model": MODEL}}),
    ]:
        async with world.http.post(path, json=body) as response:
            error = (await response.json())["error"]
        assert response.status == 400
        assert error["param"].endswith("model")
        assert "/v1/embeddings" in error["message"]


async def test_models_that_chat_are_listed_first(world: EmbeddingsWorld) -> None:
    async with world.http.get("/v1/models") as response:
        names = [each["id"] for each in (await response.json())["data"]]
    assert names == ["sim-1", MODEL, "unpriced"]


async def test_a_passing_fault_is_tried_again(world: EmbeddingsWorld) -> None:
    await world.fault(fail=503, calls=1)
    status, _, _ = await world.ask()
    assert status == 200
    assert await world.calls() == 2


async def test_the_providers_refusal_is_the_callers(world: EmbeddingsWorld) -> None:
    await world.fault(fail=400)
    status, code, _ = await world.refused()
    assert (status, code) == (400, "provider_refused")
    assert await world.calls() == 1


async def test_a_provider_that_limits_for_long_is_a_429_with_a_time(
    world: EmbeddingsWorld,
) -> None:
    await world.fault(rate_limit_rate=1.0, retry_after=40)
    status, answer, response = await world.ask()
    assert (status, answer["error"]["code"]) == (429, "provider_rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= 59


async def test_time_that_is_over_is_a_504(nats_server: NatsServer, world: EmbeddingsWorld) -> None:
    await world.fault(ttft=30)
    hasty = await world.start_gateway(embeddings_seconds=0.3)
    async with world.client(hasty, world.key) as http, http.post(URL, json=ASK) as response:
        assert response.status == 504
        assert (await response.json())["error"]["code"] == "deadline_exceeded"


async def test_who_finds_no_place_is_told_when_to_come_back(world: EmbeddingsWorld) -> None:
    """Nothing waits here: a queue of calls in memory would be lost with the process."""
    await world.fault(ttft=30)
    running = [asyncio.create_task(world.ask()) for _ in range(2)]
    await until(lambda: _running(world, 2))
    status, answer, response = await world.ask()
    assert (status, answer["error"]["code"]) == (429, "too_many_calls")
    assert 1 <= int(response.headers["Retry-After"]) <= 59
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    # Whoever goes takes the call along, and leaves the place.
    await until(lambda: _running(world, 0))


async def _running(world: EmbeddingsWorld, number: int) -> bool:
    async with world.provider.get("/stats") as response:
        return int((await response.json())["running"]) == number
