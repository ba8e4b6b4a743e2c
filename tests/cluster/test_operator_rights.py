"""The operator's rights in the Kubernetes API: each is needed, and no other is asked for."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
import pytest_asyncio

from tests.bed.cluster import Cluster, CommandError
from tests.bed.fixtures import own_namespace
from tests.cluster.api_recorder import ApiRecorder, Right, rights_of, without
from tests.cluster.operator_world import Object, Operator, OperatorWorld
from tests.cluster.pool_life import SWIFT, answer, at_zero, take_all, telling

pytestmark = pytest.mark.asyncio(loop_scope="module")
_PATIENCE: Final = 60.0
_POLL: Final = 0.05
_DEFAULT_POOL: Final = "TIDEGATE_OPERATOR_DEFAULT_POOL_FILE"
_LEASE: Final = "tidegate-operator"
_POOL: Final = "tidegate-worker"
# What some rights are narrowed down to.
_NAMES: Final = {"leases": _LEASE, "configmaps": _LEASE, "workerpools": _POOL}


class Bench:
    """A world whose operator is watched, and how to have it do things."""

    def __init__(self, world: OperatorWorld, recorder: ApiRecorder, role: Object) -> None:
        self.world = world
        self.recorder = recorder
        self.role = role
        self._made = 0

    async def clear(self) -> None:
        """Nobody leads, and there is no default pool."""
        for operator in self.world.operators:
            if operator.running:
                await operator.stop()
        await self.world.kubectl("delete", "lease", _LEASE, "--ignore-not-found")
        await self.world.kubectl("delete", "wp", _POOL, "--ignore-not-found")

    async def start(self) -> Operator:
        """A replica in its beginning."""
        pool = str(self.world.directory / "pools.yaml")
        return await self.world.operator(**self.recorder.environ, **{_DEFAULT_POOL: pool})

    async def lead(self) -> None:
        """Has one lead, unless one does."""
        if not any(each.running and each.leads for each in self.world.operators):
            await self.clear()
            operator = await self.start()
            while not operator.leads:
                assert operator.running, operator.log.read_text("utf-8")
                await asyncio.sleep(_POLL)

    def name(self) -> str:
        """The name of one more pool."""
        self._made += 1
        return f"pool-{self._made}"

    async def until(self, holds: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + _PATIENCE
        while not holds():
            assert time.monotonic() < end, f"{otherwise}{self.world.last_words}"
            await asyncio.sleep(_POLL)

    async def allowed(self, right: Right, expected: bool) -> None:
        """Returns once the API server goes by the role."""
        account = f"system:serviceaccount:{self.world.namespace}:{self.world.account}"
        resource, _, part = right.resource.partition("/")
        name = f"/{_NAMES[resource]}" if resource in _NAMES and not part else ""
        asked = ["auth", "can-i", right.verb, f"{resource}{name}", f"--as={account}"]
        for _ in range(100):
            try:
                await self.world.kubectl(*asked, *([f"--subresource={part}"] if part else []))
                answer = True
            except CommandError:
                answer = False
            if answer == expected:
                return
        raise AssertionError(f"the API server does not go by the role: {right}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("world")
    async with (
        own_namespace(control_plane) as namespace,
        OperatorWorld(control_plane, namespace, folder) as world,
        ApiRecorder(control_plane, folder / "account", folder / "recorder") as recorder,
    ):
        role = await world.get("role", world.account)
        assert role is not None
        yield Bench(world, recorder, role)


# What needs rights: up to its `yield` with all of them, from there on with one less.
Doing = AsyncGenerator[None, None]


async def begin(bench: Bench) -> Doing:
    """From nothing to a leader that watches, and to the default pool."""
    await bench.clear()
    yield
    await bench.start()


async def make_a_pool(bench: Bench) -> Doing:
    """A pool comes, which takes its Deployment, its budget and its status."""
    await bench.lead()
    yield
    await bench.world.pool(bench.name(), **SWIFT)


async def meet_a_burst(bench: Bench) -> Doing:
    """Replicas are added."""
    await bench.lead()
    name = bench.name()
    await at_zero(bench.world, name)
    yield
    await bench.world.put_jobs(name, 7)


async def take_idle_pods_away(bench: Bench) -> Doing:
    """Replicas are taken away, of which some are busy."""
    await bench.lead()
    world, name = bench.world, bench.name()
    await at_zero(world, name)
    await world.put_jobs(name, 14)
    await world.until(name, lambda pool: pool["status"]["replicas"] == 2)
    while len(pods := await world.cluster.find("pods", world.namespace, _of(name))) < 2:
        await asyncio.sleep(_POLL)
    taken = await take_all(world, name, 14)
    yield
    async with telling(world, name, host=pods[0]["metadata"]["name"], running=4):
        await answer(taken[4:])
        await world.until(name, lambda pool: pool["status"]["replicas"] == 1)


async def decide_on_what_is_past(bench: Bench) -> Doing:
    """A pool has been written to by others, and the operator has not heard of it."""
    await bench.lead()
    world, name = bench.world, bench.name()
    await at_zero(world, name)
    yield
    before = bench.recorder.conflicts
    bench.recorder.watching.clear()
    try:
        await world.kubectl("annotate", "wp", name, "example.com/by=hand")
        await world.kubectl("annotate", "deployment", name, "example.com/by=hand")
        await world.put_jobs(name, 7)
        await bench.until(lambda: bench.recorder.conflicts > before, "nothing is outdated")
    finally:
        bench.recorder.watching.set()


def _of(name: str) -> str:
    return f"tidegate.dev/pool={name}"


# Each right: what cannot be done without it, and what shows that.
NEEDED: Final[dict[Right, tuple[str, Callable[[Bench], Doing]]]] = {
    Right("patch", "workerpools/status"): ("tells how a pool stands", make_a_pool),
    Right("create", "deployments"): ("makes workers", make_a_pool),
    Right("patch", "deployments"): ("changes their number", meet_a_burst),
    Right("get", "poddisruptionbudgets"): ("misses a budget", make_a_pool),
    Right("create", "poddisruptionbudgets"): ("makes a budget", make_a_pool),
    Right("patch", "poddisruptionbudgets"): ("owns a budget's fields", make_a_pool),
    Right("create", "events"): ("tells of changes", meet_a_burst),
    Right("patch", "pods"): ("spares busy pods", take_idle_pods_away),
    Right("get", "workerpools"): ("reads a pool that has changed", decide_on_what_is_past),
    Right("get", "deployments"): ("reads what others did", decide_on_what_is_past),
    Right("list", "workerpools"): ("knows the pools", begin),
    Right("watch", "workerpools"): ("hears of pools", begin),
    Right("list", "deployments"): ("knows what there is", begin),
    Right("watch", "deployments"): ("hears what others do to it", begin),
    Right("list", "horizontalpodautoscalers"): ("knows who else scales", begin),
    Right("watch", "horizontalpodautoscalers"): ("hears who else scales", begin),
    Right("get", "leases"): ("sees who leads", begin),
    Right("create", "leases"): ("leads first", begin),
    Right("update", "leases"): ("goes on leading", begin),
    Right("get", "configmaps"): ("knows what the default pool belongs to", begin),
    Right("create", "workerpools"): ("makes the default pool", begin),
    Right("patch", "workerpools"): ("makes the default pool so", begin),
}


async def test_no_other_right_is_given(bench: Bench) -> None:
    assert rights_of([bench.role]) == set(NEEDED)


async def test_no_other_right_is_asked_for(bench: Bench) -> None:
    for done in dict.fromkeys(done for _, done in NEEDED.values()):
        async for _ in done(bench):
            pass
        await bench.lead()
    await bench.until(lambda: bench.recorder.used >= set(NEEDED), "not all is used")
    assert (bench.recorder.used, bench.recorder.refused) == (set(NEEDED), set())


@asynccontextmanager
async def one_right_less(bench: Bench, right: Right) -> AsyncIterator[None]:
    async def say(role: Object) -> None:
        body = {key: role[key] for key in ("apiVersion", "kind", "rules")}
        metadata = {"name": role["metadata"]["name"]}
        text = json.dumps(body | {"metadata": metadata})
        await bench.world.kubectl("replace", "-f", "-", input=text)

    bench.recorder.refused.clear()
    await say(without(bench.role, right))
    await bench.allowed(right, False)
    try:
        yield
    finally:
        await say(bench.role)
        await bench.allowed(right, True)


@pytest.mark.parametrize("right", NEEDED, ids=lambda right: f"{right.verb}-{right.resource}")
async def test_one_right_less_is_one_thing_less(bench: Bench, right: Right) -> None:
    does, begun = NEEDED[right]
    doing = begun(bench)
    await anext(doing)
    async with one_right_less(bench, right):
        await anext(doing, None)
        without_it = f"without the right to {right.verb} {right.resource} it still {does}"
        await bench.until(lambda: right in bench.recorder.refused, without_it)
