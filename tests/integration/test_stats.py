"""The figures of a running platform: what its operators see of it, and nobody else."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from tests.support.log_world import Events, LogPeer
from tests.support.nats_server import NatsServer
from tests.support.scripted_cache import ScriptedCache
from tests.support.worker_world import WorkerWorld, terminal_of
from tidegate.chassis.keyring import new_key
from tidegate.chassis.settings import ListenAddress
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import JobClass
from tidegate.figures.interval import Interval
from tidegate.figures.metrics import QueueFigures
from tidegate.figures.stats import StatsJson
from tidegate.gateway.app import Gateway, make_gateway
from tidegate.gateway.openapi import openapi_document
from tidegate.gateway.queues import QueueWatch, read_queue
from tidegate.gateway.settings import GatewaySettings

TRACE = "0af7651916cd43dd8448eb211c80319c"


class StatsWorld(WorkerWorld):
    """Queues `default` and `other`, and a gateway that is asked with an operator's key."""

    gateway: Gateway
    http: aiohttp.ClientSession

    def __init__(self, nats: NatsServer, directory: Path) -> None:
        super().__init__(nats, directory, queues=("default", "other"))
        self.keys_file = directory / "keys"
        self.key = new_key(self.keys_file, "acme")
        self.operator = new_key(self.keys_file, "acme", operator=True)

    async def __aenter__(self) -> "StatsWorld":
        await super().__aenter__()
        try:
            self.gateway = make_gateway(self.gateway_settings())
            await self._stack.enter_async_context(self.gateway.lifecycle)
            session = aiohttp.ClientSession(f"http://{self.gateway.http.address}")
            self.http = await self._stack.enter_async_context(session)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    def gateway_settings(self) -> GatewaySettings:
        anywhere = ListenAddress("127.0.0.1:0")
        return GatewaySettings(
            nats_url=self.nats.url,
            routes_file=self.routes_file,
            keys_file=self.keys_file,
            http_listen=anywhere,
            grpc_listen=anywhere,
            health_listen=anywhere,
            drain_seconds=2.0,
        )

    async def ask(self, key: str, query: str = "") -> tuple[int, dict[str, Any]]:
        """What is answered to GET /v1/stats, and its status."""
        headers = {"Authorization": f"Bearer {key}"}
        async with self.http.get(f"/v1/stats{query}", headers=headers) as response:
            return response.status, await response.json()

    async def figures(self) -> StatsJson:
        """The figures, with the snapshots."""
        status, body = await self.ask(self.operator, "?snapshots=true")
        assert status == 200, body
        return msgspec.convert(body, StatsJson)

    async def done(self, number: int, **job: Any) -> None:
        """So many jobs, answered."""
        for submitted in [await self.submit(**job) for _ in range(number)]:
            await self.until_end(submitted)
        await self.until_queue_empty()


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[StatsWorld]:
    async with StatsWorld(nats_server, tmp_path) as world:
        yield world


async def test_two_workers_are_one_platform(world: StatsWorld) -> None:
    await world.start_worker(queues="default", worker_name="one")
    await world.start_worker(queues="other", worker_name="two")
    await world.done(3, model="priced", tokens=20)
    await world.done(2, model="other", queue="other", job_class=JobClass.BATCH)
    stats = await world.figures()
    assert [each.host for each in stats.processes] == ["one", "two"]
    assert {each.route: each.response.count for each in stats.routes} == {"priced": 3, "other": 2}
    assert stats.all.ttft.count == stats.all.response.count == 5
    assert stats.all.response.p95 is not None
    priced = next(each for each in stats.routes if each.route == "priced")
    assert priced.cost.usd == pytest.approx(3 * 50e-6)
    assert (stats.cost.interactions, stats.cost.unknown) == (5, 2)
    assert stats.cache.lookups == 0
    assert [(each.queue, each.job_class, each.waiting) for each in stats.queues] == [
        ("default", "batch", 0),
        ("default", "interactive", 0),
        ("other", "batch", 0),
        ("other", "interactive", 0),
    ]


async def test_the_answer_is_as_the_document_says(world: StatsWorld) -> None:
    await world.start_worker()
    await world.done(1)
    schema = openapi_document() | {"$ref": "#/components/schemas/StatsJson"}
    for query in ("", "?snapshots=true"):
        status, body = await world.ask(world.operator, query)
        assert status == 200
        jsonschema_rs.validate(schema, body)
        assert ("snapshots" in body) == bool(query)


async def test_a_tenants_key_sees_nothing_of_others(world: StatsWorld) -> None:
    status, body = await world.ask(world.key)
    assert (status, body["error"]["code"]) == (403, "permission_denied")
    assert "tidegate keys new TENANT --operator" in body["error"]["message"]
    assert (await world.ask("tg_unknown"))[0] == 401
    for query in ("?snapshots=maybe", "?since=1"):
        assert (await world.ask(world.operator, query))[0] == 400


async def test_a_worker_that_is_killed_and_started_again_begins_anew(world: StatsWorld) -> None:
    interval = Interval()

    async def look() -> int:
        stats = await world.figures()
        assert not isinstance(stats.snapshots, msgspec.UnsetType)
        news = interval.look(stats.snapshots, stats.at)
        return sum(each.response.spread().count for each in news)

    async with world.process() as worker:
        await world.done(3)
        before = await world.figures()
        assert await look() == 0
        await world.done(2)
        assert await look() == 2
        await worker.kill()
        assert await look() == 0
        await worker.launch()
        await worker.until_ready()
        await world.done(1)
        assert await look() == 1
        after = await world.figures()
    assert (before.all.response.count, after.all.response.count) == (3, 1)
    assert before.processes[0].process != after.processes[0].process
    assert before.processes[0].host == after.processes[0].host


async def test_jobs_that_wait_are_counted_by_queue_and_class_and_so_is_their_age(
    world: StatsWorld,
) -> None:
    first = await world.submit(job_class=JobClass.BATCH)
    for _ in range(2):
        await world.submit(job_class=JobClass.BATCH)
    await world.submit(queue="other")
    batch = {(each.queue, each.job_class): each for each in (await world.figures()).queues}
    waiting = {key: each.waiting for key, each in batch.items() if each.waiting}
    assert waiting == {("default", "batch"): 3, ("other", "interactive"): 1}
    before = batch["default", "batch"].oldest_s
    assert 0 < before < 60
    # The oldest goes; the next one is younger, and a hole in the stream is no obstacle.
    stored = await world.jetstream.last("JOBS", first.subject)
    assert stored is not None
    await world.jetstream.api("STREAM.MSG.DELETE.JOBS", {"seq": stored.sequence})
    found = await read_queue(world.jetstream, "default", JobClass.BATCH)
    assert found.waiting == 2
    assert found.oldest_s > 0


async def test_delivered_jobs_run_and_do_not_wait(world: StatsWorld) -> None:
    await world.submit()
    await world.submit()
    inbox = world.client.new_inbox()
    taken = await world.client.subscribe(inbox)
    pull = "$JS.API.CONSUMER.MSG.NEXT.JOBS.default-interactive"
    await world.client.publish(pull, b'{"batch": 1}', reply=inbox)
    await taken.next_msg(timeout=10)
    found = await read_queue(world.jetstream, "default", JobClass.INTERACTIVE)
    assert (found.waiting, found.running) == (1, 1)


class Watching:
    """A gateway's watch by itself, and what it tells Prometheus."""

    def __init__(self, peer: LogPeer, queues: tuple[str, ...]) -> None:
        self.registry = CollectorRegistry()
        self.queues = queues
        self.watch = QueueWatch(
            peer.jetstream, TaskGuard(), QueueFigures(self.registry), lambda: self.queues
        )

    def depth(self, queue: str) -> float | None:
        labels = {"queue": queue, "class": "interactive"}
        return self.registry.get_sample_value("tidegate_queue_depth", labels)


async def test_a_queue_without_a_consumer_is_left_out_and_the_others_are_not(
    world: StatsWorld,
) -> None:
    watching = Watching(world, ("default", "new", "other"))
    await watching.watch.measure()
    assert [watching.depth(queue) for queue in watching.queues] == [0.0, None, 0.0]


async def test_a_queue_that_was_taken_from_the_routes_is_still_seen(world: StatsWorld) -> None:
    """Its jobs are still there, and somebody waits for them."""
    watching = Watching(world, ("default", "other"))
    await watching.watch.measure()
    watching.queues = ("default",)
    await world.submit(queue="other")
    await watching.watch.measure()
    assert watching.depth("other") == 1.0


async def test_without_nats_there_are_no_figures_rather_than_old_ones(
    world: StatsWorld, nats_server: NatsServer
) -> None:
    await world.submit()
    assert (await world.figures()).queues[1].waiting == 1
    metrics = f"http://{world.gateway.health.address}/metrics"
    async with world.http.get(metrics) as response:
        assert 'tidegate_queue_depth{class="interactive",queue="default"} 1.0' in (
            await response.text()
        )
    await nats_server.kill()
    status, body = await world.ask(world.operator)
    assert (status, body["error"]["code"]) == (503, "unavailable")
    async with world.http.get(metrics) as response:
        assert 'tidegate_queue_depth{class="interactive"' not in await response.text()
    await nats_server.start()


async def test_a_slow_answer_leads_to_its_trace(world: StatsWorld) -> None:
    """Where Prometheus asks for it; the plain format has no place for that."""
    async with world.process() as worker:
        await world.done(1, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
        url = f"{worker.health_url}/metrics"
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with contextlib.AsyncExitStack() as stack:
            open_metrics = await stack.enter_async_context(world.http.get(url, headers=accept))
            assert open_metrics.content_type == "application/openmetrics-text"
            page = await open_metrics.text()
        assert page.endswith("# EOF\n")
        for name in ("tidegate_model_ttft_seconds", "tidegate_model_response_seconds"):
            lines = [line for line in page.splitlines() if line.startswith(f"{name}_bucket")]
            assert any(f'trace_id="{TRACE}"' in line for line in lines), name
        assert TRACE not in await worker.metrics()


async def test_where_answers_came_from_is_counted_once_for_each_job(
    world: StatsWorld, tmp_path: Path
) -> None:
    """Else a ratio above one half would be none, and what was saved would be saved twice."""
    async with ScriptedCache(tmp_path) as cache:
        cache.answering.clear()
        await world.start_worker(**cache.settings)
        jobs = [await world.submit(tokens=None, model="priced") for _ in range(5)]
        await cache.until_asked()
        cache.answering.set()
        logs = [await world.until_end(job) for job in jobs]
        (paid,) = [cost for events in logs if (cost := cost_of(events))]
        await cache.until_stored()
        await world.done(2, tokens=None, model="priced")
        await world.done(1, model="sim-1", tools=[], tokens=None)
        stats = await world.figures()
    assert {tier.tier: tier.hits for tier in stats.cache.tiers} == {
        "exact": 2,
        "semantic": 0,
        "coalesced": 4,
    }
    assert (stats.cache.lookups, stats.cache.misses) == (8, 2)
    assert stats.cache.hit_ratio == pytest.approx(6 / 8)
    priced = next(each for each in stats.routes if each.route == "priced")
    assert {each.tier: each.response.count for each in priced.tiers} == {
        "miss": 1,
        "exact": 2,
        "coalesced": 4,
    }
    assert priced.cost.usd == pytest.approx(paid / 1e9)
    assert sum(each.usd for each in stats.saved) == pytest.approx(6 * paid / 1e9)


def cost_of(events: Events) -> int | None:
    end = terminal_of(events)
    assert isinstance(end, Completed)
    return end.cost_nano_usd
