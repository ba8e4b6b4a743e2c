"""What bench/creates.py measures: NATS and one gateway, with a worker and a simulator if asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.log_world import LogPeer, connected
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import ServiceProcess

_ROUTES = """
providers:
  simulator: {{base_url: "http://127.0.0.1:{port}/v1"}}
models:
  sim-small: {{queue: default, targets: [{{provider: simulator}}]}}
"""


@dataclass(frozen=True, slots=True)
class World:
    """`ports` of the surfaces, `pids` of the processes, by their names."""

    ports: dict[str, int]
    pids: dict[str, int]
    peer: LogPeer

    async def api(self, verb: str) -> dict[str, Any]:
        return await self.peer.jetstream.api(verb)

    async def waiting(self) -> int:
        """Jobs that are not done with."""
        return int((await self.api("STREAM.INFO.JOBS"))["state"]["messages"])

    async def until_done(self, seconds: float) -> int:
        """Returns once no job is left, or after so many seconds; how many are left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.waiting():
                    await asyncio.sleep(0.1)
        return await self.waiting()

    async def purge(self) -> None:
        """Forgets all jobs; the gateway has a moment to count anew."""
        await self.api("STREAM.PURGE.JOBS")
        await self.api("STREAM.PURGE.EVENTS")
        await asyncio.sleep(0.7)


@contextlib.asynccontextmanager
async def world(directory: Path, *, worker: bool = False) -> AsyncIterator[World]:
    """NATS with a file store and one copy of everything, settings as shipped."""
    ports = {"http": free_port(), "grpc": free_port()}
    simulator_port = free_port()
    routes = directory / "routes.yaml"
    routes.write_text(_ROUTES.format(port=simulator_port), encoding="utf-8")
    async with contextlib.AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer(directory, config="max_payload: 8MB"))
        common = {
            "TIDEGATE_NATS_URL": nats.url,
            "TIDEGATE_ROUTES_FILE": str(routes),
            "TIDEGATE_LOG_LEVEL": "warning",
        }
        listen = {
            f"TIDEGATE_{name.upper()}_LISTEN": f"127.0.0.1:{port}" for name, port in ports.items()
        }
        processes = {
            "gateway": ServiceProcess("gateway", directory, free_port(), **common, **listen)
        }
        if worker:
            processes["simulator"] = ServiceProcess(
                "simulator",
                directory,
                simulator_port,
                TIDEGATE_SIMULATOR_LISTEN=f"127.0.0.1:{simulator_port}",
                TIDEGATE_SIMULATOR_TTFT_SECONDS="0",
                TIDEGATE_LOG_LEVEL="warning",
            )
            processes["worker"] = ServiceProcess("worker", directory, free_port(), **common)
        for process in processes.values():
            await stack.enter_async_context(process)
        peer = await stack.enter_async_context(connected(nats.url, timeout_seconds=10.0))
        pids = {"nats": nats.pid} | {name: each.pid for name, each in processes.items()}
        yield World(ports, pids, peer)
        for name, process in processes.items():
            for line in process.complaints()[:5]:
                print(f"{name} complained: {line}")
