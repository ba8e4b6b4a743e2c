"""What many pools cost one operator, and how soon it wakes one that sleeps.

    python -m bench.operator_scale [--pools 200] [--bursts 100] [--seconds 60] [--every 0.5]

A control plane of tests/bed on this machine (etcd, API server, controller manager, scheduler; no
nodes), a nats-server with the users' rights, one operator with the service account that ships, and
a queue for each pool; the stream may have any number of consumers, which of itself nats-server 2.15
does not allow. All pools are at zero. Three turns:

- idle: nothing in any queue;
- bursts: into one random sleeping pool after the other, 50 jobs and a gateway's word; measured is
  the time from before the first message to the watch's word that the Deployment's replicas changed;
- awake: the pools that were struck have jobs that nobody takes, so that they are looked at every
  second, and told of.

`cores` is the operator's CPU; `memory` its resident memory at the turn's end. `late` is how much
later than planned a look at a pool began, as its own histogram tells (upper bounds of buckets);
`probe` is how long a liveness probe took that was due every 50 ms: the lag of its event loop, with
the machine's own. `blind` are looks to which NATS did not answer in time. `writes` are requests to
the API server that change anything, in a second, and `renewals` the Lease's share of them.

All share this machine's cores: the control plane takes most of them.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench._child import Costs, quantile, resident_bytes, table
from bench._machine import describe
from bench._options import amount, count
from bench._scale_world import (
    Pages,
    Samples,
    histogram_quantile,
    increase,
    lift_consumer_bound,
    make_pools,
    ready_pools,
    running_cluster,
)
from tests.bed.cluster import Cluster
from tests.cluster.history import Admin, History
from tests.cluster.operator_world import Operator, OperatorWorld
from tidegate_operator.paths import DEPLOYMENTS

_NAMESPACE: Final = "scale"
_JOBS: Final = 50
_MAX: Final = 3
_PROBE_SECONDS: Final = 0.05
_PATIENCE: Final = 900.0
_WAKE_SECONDS: Final = 60.0
_MEBI: Final = 2**20
_CALLS: Final = "tidegate_operator_api_calls_total"
_PASSES: Final = "tidegate_operator_passes_total"
_LAG: Final = "tidegate_operator_lag_seconds"


@dataclass(frozen=True, slots=True)
class Options:
    """How many pools, how many of them are struck, seconds of a turn and between bursts."""

    pools: int
    bursts: int
    seconds: float
    every: float


@dataclass(slots=True)
class Turn:
    """What one turn cost."""

    name: str
    seconds: float = 0.0
    cores: float = 0.0
    others: float = 0.0
    resident: int = 0
    before: Samples = field(default_factory=dict)
    after: Samples = field(default_factory=dict)
    probes: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        """For the table."""
        calls = {
            method: increase(self.before, self.after, _CALLS, method=method) / self.seconds
            for method in ("PUT", "PATCH", "POST", "GET")
        }
        late = (histogram_quantile(self.before, self.after, _LAG, q) * 1e3 for q in (0.5, 0.99))
        probe = (quantile(self.probes, q) * 1e3 for q in (0.5, 0.99))
        passes = increase(self.before, self.after, _PASSES)
        blind = increase(self.before, self.after, _PASSES, ended="held")
        return [
            self.name,
            f"{self.cores:.2f}",
            f"{self.others:.2f}",
            f"{self.resident / _MEBI:.0f}",
            " / ".join(f"{each:.3g}" for each in late),
            " / ".join(f"{each:.1f}" for each in probe),
            f"{passes / self.seconds:.1f}",
            f"{blind:.0f}",
            f"{calls['PUT'] + calls['PATCH'] + calls['POST']:.2f}",
            f"{calls['PUT']:.2f}",
            f"{calls['GET']:.2f}",
        ]


_COLUMNS: Final = (
    "turn",
    "cores",
    "others",
    "memory MiB",
    "late ms p50/p99",
    "probe ms p50/p99",
    "looks/s",
    "blind",
    "writes/s",
    "renewals/s",
    "reads/s",
)


class Turns:
    """Turns of one operator."""

    def __init__(self, operator: Operator, pages: Pages) -> None:
        self._operator = operator
        self._pages = pages
        self.all: list[Turn] = []

    async def take(self, name: str, work: "asyncio.Task[None] | float") -> Turn:
        """One turn, for as long as `work` lasts: a task, or seconds."""
        turn = Turn(name, before=await self._pages.metrics())
        pid, began = self._operator.pid, time.monotonic()
        costs = Costs({"operator": pid})
        async with self._pages.probed(_PROBE_SECONDS) as turn.probes:
            await (work if isinstance(work, asyncio.Task) else asyncio.sleep(work))
        turn.seconds = time.monotonic() - began
        cores = costs.cores()
        turn.cores, turn.others = cores["operator"], cores["others"]
        turn.resident = resident_bytes(pid)
        turn.after = await self._pages.metrics()
        self.all.append(turn)
        return turn


async def strike(world: OperatorWorld, admin: Admin, names: list[str], every: float) -> list[float]:
    """Seconds from each burst to its pool's replicas; `inf` for one that got none in time."""
    struck: dict[str, float] = {}
    async with admin.history(DEPLOYMENTS, _NAMESPACE) as history:
        due = time.monotonic()
        for name in names:
            due += every
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            struck[name] = time.monotonic()
            await world.put_jobs(name, _JOBS)
        give_up_at = time.monotonic() + _WAKE_SECONDS
        while len(woken := _woken(history)) < len(names) and time.monotonic() < give_up_at:
            await asyncio.sleep(0.1)
    return [woken.get(name, float("inf")) - struck[name] for name in names]


def _woken(history: History) -> dict[str, float]:
    """When each Deployment asked for a replica first."""
    asked = [change for change in history.changes if change.body["spec"].get("replicas")]
    return {change.name: change.at for change in reversed(asked)}


async def until_ready(admin: Admin, pools: int) -> None:
    """Returns once every pool says that all is as it wants it."""
    give_up_at = time.monotonic() + _PATIENCE
    while (ready := await ready_pools(admin, _NAMESPACE)) < pools:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{ready} of {pools} pools are ready")
        await asyncio.sleep(0.5)


async def measure(cluster: Cluster, folder: Path, options: Options) -> int:
    """Prints the figures; how many pools were not woken."""
    await cluster.kubectl("create", "namespace", _NAMESPACE)
    await cluster.wait_for("serviceaccount/default", "create", _NAMESPACE)
    names = [f"pool-{number:04}" for number in range(options.pools)]
    async with (
        OperatorWorld(cluster, _NAMESPACE, folder) as world,
        Admin(cluster.kubeconfig) as admin,
    ):
        await lift_consumer_bound(world.nats.url)
        await make_pools(cluster, _NAMESPACE, names, maxReplicas=_MAX, concurrency=8)
        began = time.monotonic()
        operator = await world.leader()
        led = time.monotonic()
        await until_ready(admin, options.pools)
        print(
            f"{options.pools} pools: leading after {led - began:.1f} s, every pool with its "
            f"Deployment, its budget and its status {time.monotonic() - led:.1f} s later",
            flush=True,
        )
        async with Pages(operator) as pages:
            # What the beginning left: pools are looked at often until they have settled.
            await asyncio.sleep(15.0)
            turns = Turns(operator, pages)
            await turns.take("idle", options.seconds)
            struck = random.sample(names, min(options.bursts, options.pools))
            waits: list[float] = []

            async def bursts() -> None:
                waits.extend(await strike(world, admin, struck, options.every))

            await turns.take("bursts", asyncio.create_task(bursts()))
            await turns.take("awake", options.seconds)
    return show(turns.all, waits)


def show(turns: list[Turn], waits: list[float]) -> int:
    """Prints the tables; how many pools were not woken."""
    table("One operator", _COLUMNS, [turn.row() for turn in turns])
    woken = [wait for wait in waits if wait != float("inf")]
    shares = (0.5, 0.95, 0.99, 1.0)
    table(
        f"From the first message to replicas, seconds ({len(waits)} bursts)",
        ["", "p50", "p95", "p99", "most"],
        [["wait", *(f"{quantile(woken, q):.2f}" for q in shares)]],
    )
    return len(waits) - len(woken)


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", type=count, default=200)
    parser.add_argument("--bursts", type=count, default=100, help="pools that are struck")
    parser.add_argument("--seconds", type=amount, default=60.0, help="of each other turn")
    parser.add_argument("--every", type=amount, default=0.5, help="seconds between bursts")
    chosen = parser.parse_args()
    return Options(chosen.pools, chosen.bursts, chosen.seconds, chosen.every)


def main() -> int:
    options = parse()
    print(describe(), flush=True)
    with running_cluster() as cluster, tempfile.TemporaryDirectory(prefix="tidegate-bench-") as at:
        missed = uvloop.run(measure(cluster, Path(at), options))
    if missed:
        print(f"FAILED: {missed} pools were not woken")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
