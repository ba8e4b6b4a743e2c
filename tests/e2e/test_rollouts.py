"""Restarts, upgrades and kills under fifty streams: every client ends with its exact text.

The clients and the judge are those of the chaos suite; what strikes is Kubernetes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.bed.cluster import Cluster
from tests.chaos.crowd import Court, crowd_at
from tests.chaos.judge import Verdict
from tests.chaos.plan import JobPlan, Surface
from tests.chaos.system import MODEL
from tests.e2e.installation import RELEASE, Installation

_STREAMS = 50
# At the simulator's 40 tokens/s 10 to 40 seconds: some run still when the last pod is told to go.
_TOKENS = (400, 1_600)
# Two workers throughout: how many there are is another test's matter.
_TWO_OF_EACH = (
    *("--set", "gateway.replicas=2,streaming.replicas=2"),
    *("--set", "worker.pool.minReplicas=2,worker.pool.maxReplicas=2"),
)
# The judge compares bills with what the provider counted, so there must be a price.
_TARGET = {"provider": "simulator", "price": {"input": 1, "output": 2}}
_PRICED = {
    "providers": {"simulator": {"base_url": f"http://{RELEASE}-simulator:8090/v1"}},
    "models": {MODEL: {"queue": "default", "targets": [_TARGET]}},
}
BILLED = ("--set", "simulator.enabled=true", "--set-json", f"routes={json.dumps(_PRICED)}")
# Shorter than most of the streams, so that pods end with work in hand.
_HASTY = ("--set", "worker.drainSeconds=10,gateway.drainSeconds=12,streaming.drainSeconds=12")
WORKLOADS = [
    "deployment/tidegate-worker",
    "deployment/tidegate-gateway",
    "deployment/tidegate-streaming",
    "deployment/tidegate-operator",
    "statefulset/tidegate-cache",
    "statefulset/tidegate-nats",
]
COMPONENTS = ["worker", "gateway", "streaming", "operator", "cache", "nats"]


def streams(run: str) -> list[JobPlan]:
    surfaces = list(Surface)
    least, most = _TOKENS
    return [
        JobPlan(
            number=number,
            surface=surfaces[number % len(surfaces)],
            at=number * 0.05,
            question=f"{run}, question {number}: what does the tide carry?",
            tokens=least + (most - least) * number // _STREAMS,
            batch=False,
            request_id=f"{run}-{number}",
            cancel_after=None,
            ttl=None,
        )
        for number in range(_STREAMS)
    ]


@asynccontextmanager
async def installed(node: Cluster, namespace: str, image: str) -> AsyncIterator[Installation]:
    async with Installation(node, namespace, image) as tidegate:
        await tidegate.install(*_TWO_OF_EACH, *_HASTY, *BILLED)
        yield tidegate


async def under_load(
    tidegate: Installation,
    court: Court,
    run: str,
    strike: Callable[[], Awaitable[None]],
    *,
    outlasts: bool = True,
) -> Verdict:
    """Fifty streams, a blow in their midst, and the verdict on all of it.

    `outlasts`: some streams must still run when the blow is over.
    """
    async with crowd_at(await tidegate.doors()) as crowd:
        asking = asyncio.create_task(crowd.ask(streams(run)))
        await asyncio.sleep(4)
        await strike()
        ran_on = not asking.done()
        tolds = await asking
        verdict = await court.judge(crowd, tolds, await tidegate.witnesses())
    print(
        f"{run}: {dict(verdict.states)}, {verdict.resumed} reconnects, {verdict.attempts} attempts"
    )
    assert not verdict.complaints, "\n".join(verdict.complaints)
    assert verdict.states == {"completed": _STREAMS}
    assert ran_on or not outlasts, "all had ended before the blow was over"
    return verdict


@pytest.mark.timeout(1_800)
async def test_every_component_is_restarted_under_load(
    node: Cluster, node_namespace: str, image: str
) -> None:
    court = Court()
    async with installed(node, node_namespace, image) as tidegate:
        for workload in WORKLOADS:

            async def strike(workload: str = workload) -> None:
                await tidegate.rollout(workload)

            run = f"restart of {workload.partition('/')[2]}"
            verdict = await under_load(tidegate, court, run, strike)
            if "worker" in workload:
                # What was not ended in time was handed back, and taken over.
                assert verdict.attempts > _STREAMS
            if "gateway" in workload or "streaming" in workload:
                assert verdict.resumed


@pytest.mark.timeout(1_800)
async def test_an_upgrade_and_a_rollback_under_load(
    node: Cluster, node_namespace: str, image: str
) -> None:
    court = Court()
    async with installed(node, node_namespace, image) as tidegate:

        async def upgrade() -> None:
            await tidegate.upgrade(
                *("--set", "worker.settings.TIDEGATE_LOG_LEVEL=warning"),
                *("--set", "gateway.settings.TIDEGATE_LOG_LEVEL=warning"),
                *("--set", "streaming.settings.TIDEGATE_LOG_LEVEL=warning"),
            )

        async def roll_back() -> None:
            await tidegate.roll_back(1)

        before = await tidegate.secret("api-key")
        await under_load(tidegate, court, "upgrade", upgrade)
        await under_load(tidegate, court, "rollback", roll_back)
        assert await tidegate.secret("api-key") == before


@pytest.mark.timeout(1_800)
async def test_each_pod_is_deleted_by_force_under_load(
    node: Cluster, node_namespace: str, image: str
) -> None:
    court = Court()
    async with installed(node, node_namespace, image) as tidegate:
        for component in COMPONENTS:

            async def strike(component: str = component) -> None:
                pod = (await tidegate.pods(component))[0]["metadata"]["name"]
                await tidegate.kubectl("delete", "pod", pod, "--force", "--grace-period=0")

            await under_load(tidegate, court, f"loss of a {component}", strike)


@pytest.mark.timeout(1_800)
async def test_three_nats_servers_are_restarted_under_load(
    node: Cluster, node_namespace: str, image: str
) -> None:
    async with Installation(node, node_namespace, image) as tidegate:
        three = ("--set", "nats.replicas=3,nats.resources.requests.cpu=50m")
        await tidegate.install(*_TWO_OF_EACH, *three, *BILLED)

        async def strike() -> None:
            await tidegate.rollout("statefulset/tidegate-nats")

        run = "restart of three nats-servers"
        # One after the other, each until its streams are current: that takes longer.
        await under_load(tidegate, Court(), run, strike, outlasts=False)
