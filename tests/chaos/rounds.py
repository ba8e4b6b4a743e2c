"""Rounds: a plan is carried out on a system, everything comes to rest, and the judge looks."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.crowd import Court, Doors, crowd_at
from tests.chaos.footprints import Footprint, footprint, leaks
from tests.chaos.judge import Verdict
from tests.chaos.ledger import UNREADABLE, Witnesses
from tests.chaos.plan import FaultPlan, Plan, Surface, Wire
from tests.chaos.system import System
from tidegate.chassis.keyring import DEVELOPMENT_KEY


@dataclass(slots=True)
class Round:
    """How one went. `blows` counts by kind and target; one that is `broken` could not be judged."""

    seed: int
    verdict: Verdict = field(default_factory=Verdict)
    blows: Counter[str] = field(default_factory=Counter)
    surfaces: Counter[Surface] = field(default_factory=Counter)
    seconds: float = 0.0
    broken: bool = False
    footprints: dict[str, Footprint] = field(default_factory=dict)


class Arena:
    """A system and those who ask it; rounds follow one another on it."""

    def __init__(self, system: System, say: Callable[[str], None]) -> None:
        self._system = system
        self._say = say
        self._court = Court()
        # Of the first rest of each process: what it holds then, it needs.
        self._at_rest: dict[str, Footprint] = {}

    async def play(self, plan: Plan) -> Round:
        """Carries a plan out, to the verdict."""
        began = time.monotonic()
        one = Round(plan.seed, surfaces=Counter(job.surface for job in plan.jobs))
        async with crowd_at(self._doors()) as crowd:
            striking = asyncio.create_task(self._strike(plan.faults))
            try:
                tolds = await crowd.ask(plan.jobs)
                one.blows = await striking
            finally:
                # Interrupted, no blow may start a service that nobody would end.
                striking.cancel()
                await asyncio.gather(striking, return_exceptions=True)
            wrong = await self._system.rest()
            self._say("  all clients have ended; waiting for the platform to come to rest")
            try:
                one.verdict = await self._court.judge(crowd, tolds, self._witnesses())
            except UNREADABLE as error:
                one.broken = True
                wrong.append(f"what came of it cannot be found out: {error!r}")
        one.footprints = self._weigh(one.verdict)
        one.verdict.complaints += wrong
        one.seconds = time.monotonic() - began
        return one

    def _weigh(self, verdict: Verdict) -> dict[str, Footprint]:
        held = {name: footprint(pid) for name, pid in self._system.pids.items()}
        verdict.complaints += leaks(self._at_rest, held)
        for name, each in held.items():
            if name not in self._at_rest or self._at_rest[name].pid != each.pid:
                self._at_rest[name] = each
        return held

    async def _strike(self, faults: tuple[FaultPlan, ...]) -> Counter[str]:
        began = time.monotonic()
        blows: Counter[str] = Counter()

        async def strike(fault: FaultPlan) -> None:
            blows[await self._system.strike(fault)] += 1

        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                tasks.create_task(strike(fault))
        return blows

    def _doors(self) -> Doors:
        http, rpc = _halves(self._system.lines[Wire.GATEWAY].ports)
        sockets, sse = _halves(self._system.lines[Wire.STREAMING].ports)
        return Doors(DEVELOPMENT_KEY, *map(_local, (http, rpc, sse, sockets)))

    def _witnesses(self) -> Witnesses:
        return Witnesses(
            DEVELOPMENT_KEY,
            f"http://127.0.0.1:{self._system.lines[Wire.GATEWAY].ports[0]}",
            f"http://127.0.0.1:{_halves(self._system.lines[Wire.STREAMING].ports)[1][0]}",
            self._system.simulator_url,
            self._system.nats_url,
        )


def _local(ports: list[int]) -> list[str]:
    return [f"127.0.0.1:{port}" for port in ports]


def _halves(ports: list[int]) -> tuple[list[int], list[int]]:
    half = len(ports) // 2
    return ports[:half], ports[half:]
