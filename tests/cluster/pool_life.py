"""What happens to pools in tests of the operator: worlds that tests share, and the work of workers.

A pool of `SWIFT` is given a replica for every seven interactive jobs at once, and loses those that
have nothing to do as soon as that is seen.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.bed.cluster import Cluster
from tests.bed.fixtures import KUBECONFIG, own_namespace
from tests.cluster.operator_world import Object, OperatorWorld, condition

SWIFT: Final[Object] = {
    "concurrency": 8,
    "objectiveSeconds": 1,
    "scaling": {"coldStartSeconds": 1, "serviceSeconds": 0.5, "scaleInSeconds": 0},
}
_PATIENCE: Final = 60.0
_POLL: Final = 0.1
_SAID_EVERY: Final = 1.0


@asynccontextmanager
async def kept_world(
    cluster: Cluster, directory: Path, *options: str
) -> AsyncIterator[OperatorWorld]:
    """A namespace with an operator that leads, for the tests of one module."""
    if not cluster.is_bed:
        pytest.skip(f"needs the bed itself: unset {KUBECONFIG}")
    async with (
        own_namespace(cluster) as namespace,
        OperatorWorld(cluster, namespace, directory, *options) as world,
    ):
        await world.leader()
        yield world


async def at_zero(world: OperatorWorld, name: str, **spec: Any) -> Object:
    """A pool whose operator has looked at it, and found nothing to do."""
    await world.pool(name, **(SWIFT | spec))
    return await world.until(name, lambda pool: reason(pool, "Ready") == "ScaledToZero")


async def take_all(world: OperatorWorld, queue: str, count: int) -> list[Any]:
    """Takes so many jobs; the messages, to be acknowledged."""
    taken: list[Any] = []
    while len(taken) < count:
        taken += await world.take_jobs(queue, count - len(taken))
    return taken


async def answer(messages: Iterable[Any]) -> None:
    """The jobs are done."""
    for each in messages:
        await each.ack()


@asynccontextmanager
async def telling(world: OperatorWorld, queue: str, **told: Any) -> AsyncIterator[list[Any]]:
    """A worker that says so until the end, of itself and of what it holds: the list that is given.

    What is told is `told`, with as many jobs `running` as it holds.
    """
    held: list[Any] = []

    async def say() -> None:
        while True:
            for each in held:
                await each.in_progress()
            await world.tell(queue, **({"running": len(held)} | told))
            await asyncio.sleep(_SAID_EVERY)

    speaking = asyncio.create_task(say())
    try:
        yield held
    finally:
        speaking.cancel()
        await asyncio.wait([speaking])


def reason(pool: Object, kind: str) -> str:
    """Why a condition of a pool is as it is; empty where it is not told yet."""
    found: str = condition(pool, kind).get("reason", "")
    return found


async def changes(world: OperatorWorld, name: str) -> list[str]:
    """Each change of a pool's replicas, as `0 to 3`, oldest first."""
    told = [each for each in await world.events(name) if each["reason"].startswith("Scaled")]
    told.sort(key=lambda each: str(each["metadata"]["name"]))
    return [each["message"].partition(":")[0].removeprefix("From ") for each in told]


async def deployment_until(
    world: OperatorWorld, name: str, holds: Callable[[Object], object]
) -> Object:
    """A pool's Deployment, once this holds of it."""
    end = time.monotonic() + _PATIENCE
    while True:
        found = await world.get("deployment", name)
        if found is not None and holds(found):
            return found
        assert time.monotonic() < end, f"the Deployment stays {found}{world.last_words}"
        await asyncio.sleep(_POLL)


async def named_of(world: OperatorWorld, name: str) -> list[str]:
    """All that is there for a pool: its Deployment, ReplicaSets, pods and disruption budget."""
    kinds = "deployments,replicasets,pods,poddisruptionbudgets"
    selector = f"tidegate.dev/pool={name}"
    return (await world.kubectl("get", kinds, "-l", selector, "-o", "name")).split()


async def gone(world: OperatorWorld, name: str) -> None:
    """Returns once nothing is there for a pool any more."""
    end = time.monotonic() + _PATIENCE
    while left := await named_of(world, name):
        assert time.monotonic() < end, f"{left} stay{world.last_words}"
        await asyncio.sleep(_POLL)


def container_of(deployment: Object) -> Object:
    """The worker's container of a Deployment."""
    found: Object = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def env_of(deployment: Object) -> dict[str, str]:
    """The environment that is given to its workers in plain text."""
    return {each["name"]: each.get("value", "") for each in container_of(deployment)["env"]}


def managers_of(deployment: Object) -> set[tuple[str, str]]:
    """Who has a say in what a Deployment asks for: each with how it was said."""
    entries = deployment["metadata"]["managedFields"]
    return {
        (each["manager"], each["operation"]) for each in entries if "f:spec" in each["fieldsV1"]
    }


class Following:
    """The lines of a watch, as they come."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines

    async def until(self, line: str) -> None:
        """Returns when this line comes."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                came = (await self._lines.readline()).decode()
                assert came, f"the watch ended before {line}"
                if came.strip() == line:
                    return


@asynccontextmanager
async def following(world: OperatorWorld, kind: str, said: str) -> AsyncIterator[Following]:
    """Objects of a kind as they change, each as `said`, a template of jsonpath."""
    arguments = ("get", kind, "--watch", "--output", f"jsonpath={said}{{'\\n'}}")
    process = await asyncio.create_subprocess_exec(
        world.cluster.binaries / "kubectl",
        *("--namespace", world.namespace, *arguments),
        env=world.cluster.env,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield Following(process.stdout)
    finally:
        process.kill()
        await process.wait()
