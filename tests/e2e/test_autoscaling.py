"""Pools of real workers, scaled by the operator as it is installed, with clients who judge."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.bed.cluster import Cluster
from tests.chaos.crowd import Court, Crowd, crowd_at
from tests.chaos.judge import Verdict
from tests.chaos.plan import JobPlan, Surface
from tests.chaos.told import Told
from tests.e2e.installation import RELEASE, Installation
from tests.e2e.questions import complaints_of
from tests.e2e.test_rollouts import BILLED

_POOL: Final = f"{RELEASE}-worker"
_PATIENCE: Final = 240.0
# At the simulator's 40 tokens/s about 25 s: long enough to be told to go in the midst of it.
_LONG: Final = 1_000


def jobs(run: str, count: int, *, tokens: int, over: float = 0.0) -> list[JobPlan]:
    """So many questions on all surfaces in turn, spread evenly over some seconds."""
    surfaces = list(Surface)
    return [
        JobPlan(
            number=number,
            surface=surfaces[number % len(surfaces)],
            at=over * number / count,
            question=f"{run}, question {number}: when does the gate open?",
            tokens=tokens,
            batch=False,
            request_id=f"{run}-{number}",
            cancel_after=None,
            ttl=None,
        )
        for number in range(count)
    ]


class Pool:
    """The pool that an installation makes."""

    def __init__(self, tidegate: Installation) -> None:
        self._tidegate = tidegate

    async def get(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self._tidegate.kubectl("get", "wp", _POOL, "-o", "json")
        )
        return found

    async def until(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> float:
        """Seconds until its status is so."""
        began = time.monotonic()
        while True:
            status = (await self.get()).get("status", {})
            if holds(status):
                return time.monotonic() - began
            assert time.monotonic() - began < _PATIENCE, f"not {what}: {json.dumps(status)}"
            await asyncio.sleep(0.2)

    async def scale(self, replicas: int) -> None:
        await self._tidegate.kubectl("scale", "wp", _POOL, f"--replicas={replicas}")

    async def until_ready(self, replicas: int) -> None:
        await self.until(
            f"{replicas} ready",
            lambda status: status["replicas"] == status["readyReplicas"] == replicas,
        )

    async def changes(self) -> list[str]:
        """Every change of its replicas, as Kubernetes' Events tell them."""
        events = await self._tidegate.cluster.events(self._tidegate.namespace)
        return [
            str(each["message"])
            for each in events
            if each["reason"] in {"ScaledOut", "ScaledIn"}
            and each["involvedObject"]["name"] == _POOL
        ]


async def judged(
    tidegate: Installation, crowd: Crowd, court: Court, tolds: list[Told], count: int
) -> Verdict:
    verdict = await court.judge(crowd, tolds, await tidegate.witnesses())
    assert not verdict.complaints, "\n".join(verdict.complaints)
    assert verdict.states == {"completed": count}
    return verdict


@pytest.mark.timeout(1_200)
async def test_a_burst_at_zero_is_answered_and_the_pool_sleeps_again(
    node: Cluster, node_namespace: str, image: str
) -> None:
    count = 300
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.install(
            *("--set", "worker.pool.minReplicas=0,worker.pool.maxReplicas=3"),
            *("--set", "worker.pool.concurrency=32,worker.pool.objectiveSeconds=15"),
            *("--set", "worker.pool.scaling.scaleInSeconds=15"),
            *BILLED,
        )
        pool = Pool(tidegate)
        await pool.until("asleep", lambda status: status.get("replicas") == 0)
        async with crowd_at(await tidegate.doors()) as crowd:
            asking = asyncio.create_task(crowd.ask(jobs("burst", count, tokens=200, over=0.3)))
            awake = await pool.until("awake", lambda status: status["replicas"] > 0)
            tolds = await asking
            verdict = await judged(tidegate, crowd, Court(), tolds, count)
        asleep = await pool.until("asleep", lambda status: status["replicas"] == 0)
        changes = await pool.changes()
        print(
            f"burst: pods asked for after {awake:.1f} s, {verdict.attempts} attempts, asleep "
            f"{asleep:.0f} s after the last answer; {changes}"
        )
        assert len([each for each in changes if each.startswith("From 0 to")]) == 1, changes
        assert any("to 3:" in each for each in changes), "one pod was made to do all of it"


@pytest.mark.timeout(1_200)
async def test_scale_in_cuts_no_stream(node: Cluster, node_namespace: str, image: str) -> None:
    count = 40
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.install("--set", "worker.drainSeconds=90", *BILLED)
        pool = Pool(tidegate)
        await pool.scale(3)
        await pool.until_ready(3)
        async with crowd_at(await tidegate.doors()) as crowd:
            asking = asyncio.create_task(crowd.ask(jobs("scale-in", count, tokens=_LONG, over=2)))
            await pool.until("busy", lambda status: status.get("running", 0) >= count)
            await pool.scale(1)
            await pool.until("smaller", lambda status: status["replicas"] == 1)
            assert not asking.done(), "all had ended before"
            tolds = await asking
            verdict = await judged(tidegate, crowd, Court(), tolds, count)
        assert verdict.attempts == count, "an answer was begun anew"
        assert complaints_of(tolds) == []


@pytest.mark.timeout(1_200)
async def test_what_a_lost_worker_had_is_done_by_another(
    node: Cluster, node_namespace: str, image: str
) -> None:
    count = 10
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.install(*BILLED)
        pool = Pool(tidegate)
        async with crowd_at(await tidegate.doors()) as crowd:
            asking = asyncio.create_task(crowd.ask(jobs("loss", count, tokens=_LONG)))
            await pool.until("busy", lambda status: status.get("running", 0) >= count)
            (pod,) = await tidegate.pods("worker")
            name = pod["metadata"]["name"]
            await tidegate.kubectl("delete", "pod", name, "--force", "--grace-period=0")
            tolds = await asking
            verdict = await judged(tidegate, crowd, Court(), tolds, count)
        assert verdict.attempts > count


@pytest.mark.timeout(1_200)
async def test_an_upgrade_changes_no_pools_replicas(
    node: Cluster, node_namespace: str, image: str
) -> None:
    """Neither does another leader, which an upgrade of the operator brings."""
    async with Installation(node, node_namespace, image) as tidegate:
        # More than it begins with and than it needs, and no pin: nothing but memory says so.
        await tidegate.install(
            *("--set", "worker.pool.minReplicas=1,worker.pool.scaling.scaleInSeconds=600"),
        )
        pool = Pool(tidegate)
        await pool.scale(2)
        await pool.until_ready(2)
        unpin = '[{"op": "remove", "path": "/spec/replicas"}]'
        await tidegate.kubectl("patch", "wp", _POOL, "--type=json", "-p", unpin)
        before = await pool.changes()
        await tidegate.upgrade(
            *("--set", "worker.settings.TIDEGATE_LOG_LEVEL=debug"),
            *("--set", "operator.settings.TIDEGATE_LOG_LEVEL=debug"),
        )
        await tidegate.rolled_out(f"deployment/{_POOL}")
        await pool.until_ready(2)
        assert await pool.changes() == before
