"""Everybody who asks: a plan's jobs, each by a client of its surface, on whatever platform."""

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.chaos.clients import Client, PollingClient, Reach, SseClient
from tests.chaos.judge import Verdict, judge
from tests.chaos.ledger import Witnesses, bearer, settle
from tests.chaos.plan import JobPlan, Surface
from tests.chaos.rpc import RpcClient
from tests.chaos.sockets import SocketClient
from tests.chaos.stock import StockClient
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


@dataclass(frozen=True, slots=True)
class Doors:
    """host:port of every surface, one or more of each, and the key to all of them."""

    key: str
    http: list[str]
    grpc: list[str]
    sse: list[str]
    sockets: list[str]


class Crowd:
    """Clients of one platform, and what is known of it from before."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def ask(self, jobs: Sequence[JobPlan]) -> list[Told]:
        """Has every job asked for at its time, and returns when all clients have ended."""
        return list(await asyncio.gather(*map(self._ask, jobs)))

    async def _ask(self, job: JobPlan) -> Told:
        await asyncio.sleep(job.at)
        return await _CLIENTS[job.surface](job, self._reach).run()

    async def ask_again(self, tolds: Sequence[Told]) -> None:
        """Repeats every create that has a request id, as it was asked."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(told: Told) -> None:
            async with gate:
                told.again = await _CLIENTS[told.plan.surface](told.plan, self._reach).ask_again()

        await asyncio.gather(*(ask(told) for told in tolds if told.job_id and told.plan.request_id))


class Court:
    """Judges one crowd after the other; what it has seen once does not count again."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._position = 0

    async def judge(self, crowd: Crowd, tolds: Sequence[Told], witnesses: Witnesses) -> Verdict:
        """Waits until the platform has come to rest, and says what is wrong.

        Raises one of `ledger.UNREADABLE` where that cannot be found out.
        """
        ledger = await settle(
            witnesses,
            self._known,
            self._position,
            functools.partial(crowd.ask_again, tolds),
        )
        async with aiohttp.ClientSession() as session:
            await session.delete(f"{witnesses.simulator}/stats")
        self._known |= ledger.jobs.keys()
        self._position = ledger.position
        return judge(tolds, ledger)


@asynccontextmanager
async def crowd_at(doors: Doors) -> AsyncIterator[Crowd]:
    """A crowd with connections of its own."""
    channels = [make_channel(each, max_message_bytes=_MESSAGE_BYTES) for each in doors.grpc]
    stubs: list[Any] = [JobServiceStub(channel) for channel in channels]
    async with aiohttp.ClientSession(
        headers=bearer(doors.key), connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        try:
            yield Crowd(
                Reach(
                    doors.key,
                    session,
                    [f"http://{each}" for each in doors.http],
                    [f"http://{each}" for each in doors.sse],
                    [f"ws://{each}/v1/ws" for each in doors.sockets],
                    stubs,
                )
            )
        finally:
            for channel in channels:
                await channel.close()
