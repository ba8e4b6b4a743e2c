"""An embeddings model of the routes. Who lost this would lose every hit with its provider."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cache_parts import TABLE
from tests.support.cache_world import CacheWorld
from tests.support.nats_server import NatsServer
from tests.support.simulated import SimulatedProvider
from tidegate.cache.app import Outside, make_cache
from tidegate.chassis.settings import SettingsError
from tidegate.v1 import cache_pb2 as pb

QUESTION = "How long does the delivery to the island take?"
REWORDED = "how long does the delivery to the island take"
AGAIN = "how long does the delivery to the island take ?"
ANSWER = "The delivery takes three days."
DIMENSION = 1536


@pytest.fixture
async def provider() -> AsyncIterator[SimulatedProvider]:
    async with SimulatedProvider() as made:
        yield made


def routed(provider: SimulatedProvider, directory: Path, **settings: Any) -> dict[str, Any]:
    """Settings of a cache whose embedder is the simulator's."""
    path = directory / "embedder-routes.yaml"
    target = "{provider: sim, model: sim-embedding, price: {input: 1, output: 0}}"
    path.write_text(
        f"providers:\n  sim: {{base_url: '{provider.url}/v1'}}\n"
        f"models:\n  vectors: {{kind: embeddings, targets: [{target}]}}\n"
        "  chatty: {queue: q, targets: [{provider: sim, model: sim-small}]}\n"
    )
    return {
        "routes_file": path,
        "cache_embedder": "route:vectors",
        "cache_embedder_dimension": DIMENSION,
    } | settings


async def test_while_its_provider_is_down_the_same_question_is_still_answered(
    nats_server: NatsServer, tmp_path: Path, provider: SimulatedProvider
) -> None:
    settings = routed(provider, tmp_path)
    brought = Outside(calibration=TABLE)
    async with CacheWorld(nats_server, tmp_path, outside=brought, **settings) as world:
        await world.store(QUESTION, ANSWER)
        assert (await world.lookup(REWORDED)).tier == pb.CACHE_TIER_SEMANTIC
        assert (await world.stats()).embedder.startswith("remote-")
        await provider.fault(fail=503, endpoint="embeddings")
        assert (await world.lookup(QUESTION)).tier == pb.CACHE_TIER_EXACT
        found = await world.lookup(AGAIN)
        assert (found.outcome, found.reason) == (pb.LOOKUP_OUTCOME_MISS, "embedder_away")
        await provider.heal()
        assert (await world.lookup(AGAIN)).tier == pb.CACHE_TIER_SEMANTIC
        lines = (await world.metrics()).splitlines()
        assert any(
            line.startswith('tidegate_cache_tokens_total{direction="input",use="embedder"}')
            for line in lines
        )


async def test_a_provider_that_is_down_from_the_start_does_not_keep_the_cache_from_starting(
    nats_server: NatsServer, tmp_path: Path, provider: SimulatedProvider
) -> None:
    await provider.fault(fail=503, endpoint="embeddings")
    settings = routed(provider, tmp_path)
    brought = Outside(calibration=TABLE)
    async with CacheWorld(nats_server, tmp_path, outside=brought, **settings) as world:
        assert (await world.store(QUESTION, ANSWER)).stored
        assert (await world.lookup(QUESTION)).tier == pb.CACHE_TIER_EXACT


async def test_an_embedder_that_nobody_calibrated_finds_only_the_same(
    nats_server: NatsServer, tmp_path: Path, provider: SimulatedProvider
) -> None:
    settings = routed(provider, tmp_path)
    async with CacheWorld(nats_server, tmp_path, **settings) as world:
        await world.store(QUESTION, ANSWER)
        assert (await world.lookup(QUESTION)).tier == pb.CACHE_TIER_EXACT
        assert (await world.lookup(REWORDED)).reason == "uncalibrated"
        assert (await world.stats()).embedder == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"cache_embedder": "route:nothing"},
        {"cache_embedder": "route:chatty"},
        {"verifier_model": "vectors"},
        {"routes_file": Path("nowhere.yaml")},
    ],
)
async def test_models_that_the_routes_lack_are_said_before_anything_begins(
    nats_server: NatsServer,
    tmp_path: Path,
    provider: SimulatedProvider,
    settings: dict[str, Any],
) -> None:
    world = CacheWorld(nats_server, tmp_path, **routed(provider, tmp_path, **settings))
    with pytest.raises(SettingsError) as caught:
        make_cache(world.settings())
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["{}", "nonsense", '{"fingerprint": "x"}'])
async def test_a_calibration_that_is_none_is_said_before_anything_begins(
    nats_server: NatsServer, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    world = CacheWorld(nats_server, tmp_path, cache_calibration_file=path)
    with pytest.raises(SettingsError, match="TIDEGATE_CACHE_CALIBRATION_FILE"):
        make_cache(world.settings())
