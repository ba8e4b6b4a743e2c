"""Rounds: a plan is carried out on a system, everything comes to rest, and the judge looks."""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import grpc

from tests.chaos.clients import Client, PollingClient, Reach, SseClient
from tests.chaos.footprints import Footprint, footprint, leaks
from tests.chaos.judge import Verdict, judge
from tests.chaos.ledger import KEY, UNREADABLE, Witnesses, settle
from tests.chaos.plan import FaultPlan, JobPlan, Plan, Surface, Wire
from tests.chaos.rpc import RpcClient
from tests.chaos.sockets import SocketClient
from tests.chaos.stock import StockClient
from tests.chaos.system import System
from tests.chaos.told import Told
from tidegate.chassis.grpc_channel import make_channel
from tidegate.v1.jobs_pb2_grpc import JobServiceStub

_CLIENTS: Final[dict[Surface, type[Client]]] = {
    Surface.GRPC: RpcClient,
    Surface.JOBS: PollingClient,
    Surface.OPENAI: StockClient,
    Surface.WEBSOCKET: SocketClient,
    Surface.SSE: SseClient,
}
_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_AT_ONCE: Final = 16


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
        self._known: set[str] = set()
        self._position = 0
        # Of the first rest of each process: what it holds then, it needs.
        self._at_rest: dict[str, Footprint] = {}

    async def play(self, plan: Plan) -> Round:
        """Carries a plan out, to the verdict."""
        began = time.monotonic()
        one = Round(plan.seed, surfaces=Counter(job.surface for job in plan.jobs))
        async with aiohttp.ClientSession(
            headers=KEY, connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            reach = self._reach(session)
            striking = asyncio.create_task(self._strike(plan.faults))
            try:
                tolds = await asyncio.gather(*(self._ask(job, reach) for job in plan.jobs))
                one.blows = await striking
            finally:
                # Interrupted, no blow may start a service that nobody would end.
                striking.cancel()
                await asyncio.gather(striking, return_exceptions=True)
            wrong = await self._system.rest()
            self._say("  all clients have ended; waiting for the platform to come to rest")
            try:
                one.verdict = await self._judge(session, tolds, reach)
            except UNREADABLE as error:
                one.broken = True
                wrong.append(f"what came of it cannot be found out: {error!r}")
            for channel in self._channels:
                await channel.close()
        one.footprints = self._weigh(one.verdict)
        one.verdict.complaints += wrong
        one.seconds = time.monotonic() - began
        return one

    async def _judge(
        self, session: aiohttp.ClientSession, tolds: list[Told], reach: Reach
    ) -> Verdict:
        ledger = await settle(
            self._witnesses(),
            self._known,
            self._position,
            functools.partial(_ask_again, tolds, reach),
        )
        await session.delete(f"{self._system.simulator_url}/stats")
        self._known |= ledger.jobs.keys()
        self._position = ledger.position
        return judge(tolds, ledger)

    def _weigh(self, verdict: Verdict) -> dict[str, Footprint]:
        held = {name: footprint(pid) for name, pid in self._system.pids.items()}
        verdict.complaints += leaks(self._at_rest, held)
        for name, each in held.items():
            if name not in self._at_rest or self._at_rest[name].pid != each.pid:
                self._at_rest[name] = each
        return held

    async def _ask(self, job: JobPlan, reach: Reach) -> Told:
        await asyncio.sleep(job.at)
        return await _CLIENTS[job.surface](job, reach).run()

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

    def _reach(self, session: aiohttp.ClientSession) -> Reach:
        gateway = self._system.lines[Wire.GATEWAY].ports
        streaming = self._system.lines[Wire.STREAMING].ports
        http, rpc = _halves(gateway)
        sockets, sse = _halves(streaming)
        self._channels = [
            make_channel(f"127.0.0.1:{port}", max_message_bytes=_MESSAGE_BYTES) for port in rpc
        ]
        stubs: list[Any] = [JobServiceStub(channel) for channel in self._channels]
        return Reach(
            session,
            [f"http://127.0.0.1:{port}" for port in http],
            [f"http://127.0.0.1:{port}" for port in sse],
            [f"ws://127.0.0.1:{port}/v1/ws" for port in sockets],
            stubs,
        )

    _channels: list[grpc.aio.Channel]

    def _witnesses(self) -> Witnesses:
        return Witnesses(
            f"http://127.0.0.1:{self._system.lines[Wire.GATEWAY].ports[0]}",
            f"http://127.0.0.1:{_halves(self._system.lines[Wire.STREAMING].ports)[1][0]}",
            self._system.simulator_url,
            self._system.nats_url,
        )


async def _ask_again(tolds: list[Told], reach: Reach) -> None:
    """Repeats every create that has a request id, as it was asked."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def ask(told: Told) -> None:
        async with gate:
            told.again = await _CLIENTS[told.plan.surface](told.plan, reach).ask_again()

    await asyncio.gather(*(ask(told) for told in tolds if told.job_id and told.plan.request_id))


def _halves(ports: list[int]) -> tuple[list[int], list[int]]:
    half = len(ports) // 2
    return ports[:half], ports[half:]
