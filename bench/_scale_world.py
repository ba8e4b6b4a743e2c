"""A control plane, a nats-server, one operator and many pools, and what each of them is asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Self

import aiohttp
import nats
from prometheus_client.parser import text_string_to_metric_families

from tests.bed import control_plane, state
from tests.bed.binaries import binaries
from tests.bed.cluster import Cluster
from tests.bed.progress import progress
from tests.bed.versions import CONTROL_PLANE
from tests.cluster.history import Admin
from tests.cluster.operator_world import Operator
from tidegate.contracts.subjects import JOBS_STREAM
from tidegate_operator.paths import POOLS

# Objects in one request of kubectl's.
_CHUNK: Final = 100
_MOST_CONSUMERS: Final = 100_000
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A control plane of this run's own."""
    programs = binaries(CONTROL_PLANE, progress())
    folder, processes = control_plane.up(programs)
    try:
        yield Cluster(folder / "kubeconfig", programs, processes)
    finally:
        state.release(folder)
        processes.reap()


async def make_pools(cluster: Cluster, namespace: str, names: list[str], **spec: Any) -> None:
    """A pool for each name, with a queue of that name."""
    for begin in range(0, len(names), _CHUNK):
        pools = [
            {
                "apiVersion": "tidegate.dev/v1alpha1",
                "kind": "WorkerPool",
                "metadata": {"name": name},
                "spec": {"queue": name, **spec},
            }
            for name in names[begin : begin + _CHUNK]
        ]
        await cluster.apply(pools, namespace)


async def lift_consumer_bound(nats_url: str) -> None:
    """Lets the stream have more consumers than nats-server 2.15 allows by default, 1,000: each
    queue has two.
    """
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    config = (await jetstream.stream_info(JOBS_STREAM)).config
    await jetstream.update_stream(config.evolve(max_consumers=_MOST_CONSUMERS))
    await client.close()


async def ready_pools(admin: Admin, namespace: str) -> int:
    """How many pools say that all is as they want it."""
    found = await admin.list(POOLS, namespace)
    return sum(_is_ready(pool) for pool in found["items"])


def _is_ready(pool: Mapping[str, Any]) -> bool:
    conditions = pool.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


class Pages:
    """The health pages of an operator; an async context manager."""

    def __init__(self, operator: Operator) -> None:
        self._url = operator.health

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(self._url)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def metrics(self) -> Samples:
        """All samples, by name and labels."""
        async with self._session.get("/metrics") as response:
            text = await response.text()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def _probe(self) -> float:
        began = time.perf_counter()
        async with self._session.get("/livez") as response:
            await response.read()
            assert response.status == 200, await response.text()
        return time.perf_counter() - began

    @asynccontextmanager
    async def probed(self, every: float) -> AsyncIterator[list[float]]:
        """How long a liveness probe takes, in seconds, again and again: the loop's lag, and more.

        Each is due on a schedule, and the time is from when it was due.
        """
        waits: list[float] = []

        async def probe() -> None:
            due = time.perf_counter()
            while True:
                due += every
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                late = time.perf_counter() - due
                waits.append(await self._probe() + max(late, 0.0))

        task = asyncio.create_task(probe())
        try:
            yield waits
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def increase(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """By how much a counter grew, over all of its series with these labels."""
    wanted = set(labels.items())
    return sum(
        value - before.get(key, 0.0)
        for key, value in after.items()
        if key[0] == name and wanted <= key[1]
    )


def histogram_quantile(before: Samples, after: Samples, name: str, q: float) -> float:
    """The upper bound of the bucket in which a share `q` of what came meanwhile lies."""
    grown = sorted(
        (float(dict(key[1])["le"]), value - before.get(key, 0.0))
        for key, value in after.items()
        if key[0] == f"{name}_bucket"
    )
    total = grown[-1][1] if grown else 0.0
    return next((bound for bound, count in grown if count >= q * total), float("nan"))
