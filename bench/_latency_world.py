"""What bench/added_latency.py and bench/retained.py measure: one of each service, on NATS.

One nats-server, or three with three copies of every stream; services as shipped, but for the slots
of the worker, which are to be enough for the load. The simulator is the model of both sides.
"""

import asyncio
import contextlib
import resource
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench._child import children_of
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import ServiceProcess

_ROUTES: Final = """
providers:
  simulator: {{base_url: "http://127.0.0.1:{port}/v1"}}
models:
  sim-small: {{queue: default, targets: [{{provider: simulator}}]}}
  sim-large: {{queue: nobody, targets: [{{provider: simulator}}]}}
"""
# Of a worker's slots an eighth is kept for batch jobs.
_INTERACTIVE_SHARE: Final = 7 / 8
_FEWEST_SLOTS: Final = 256
# A cluster has to elect leaders, and the cache to load its model.
_READY_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Setup:
    """`jobs` run at once; tokens a second and seconds to the first are the simulator's.

    The worker serves the queue of `sim-small`; nobody serves the one of `sim-large`.
    """

    jobs: int
    rate: float
    ttft: float
    servers: int = 1
    cache: bool = False

    @property
    def slots(self) -> int:
        """Enough for all the jobs, as each ends a moment after its reader has read it."""
        return max(_FEWEST_SLOTS, int(self.jobs * 1.1 / _INTERACTIVE_SHARE) + 16)


@dataclass(slots=True)
class World:
    """`ports` of what clients call, the services by name, the servers of NATS."""

    ports: dict[str, int]
    services: dict[str, ServiceProcess]
    nats: list[NatsServer]
    complaints: list[str] = field(default_factory=list)

    @property
    def nats_url(self) -> str:
        return ",".join(server.url for server in self.nats)

    @property
    def pids(self) -> dict[str, int]:
        """Of every process, children of the services included."""
        pids = {name: service.pid for name, service in self.services.items()}
        for number, server in enumerate(self.nats, 1):
            pids["nats" if len(self.nats) == 1 else f"nats {number}"] = server.pid
        if "cache" in self.services:
            store = children_of(self.services["cache"].pid)
            pids |= {f"cache's store {n}": pid for n, pid in enumerate(store, 1)}
        return pids


@contextlib.asynccontextmanager
async def world(directory: Path, setup: Setup) -> AsyncIterator[World]:
    """Everything, ready. What services complained of is printed in the end."""
    allow_many_files()
    async with contextlib.AsyncExitStack() as stack:
        nats = _servers(directory, setup.servers)
        await asyncio.gather(*(stack.enter_async_context(server) for server in nats))
        names = ("simulator", "http", "grpc", "websocket", "sse", "cache")
        ports = {name: free_port() for name in names}
        services = _services(directory, setup, ports, nats)
        for service in services.values():
            stack.push_async_callback(service.kill)
            await service.launch()
        await asyncio.gather(*(each.until_ready(_READY_SECONDS) for each in services.values()))
        made = World(ports, services, nats)
        yield made
        for name, service in services.items():
            for line in service.complaints()[:3]:
                print(f"{name} complained: {line[:500]}", flush=True)


def _services(
    directory: Path, setup: Setup, ports: dict[str, int], nats: list[NatsServer]
) -> dict[str, ServiceProcess]:
    routes, secret = directory / "routes.yaml", directory / "cache-key"
    routes.write_text(_ROUTES.format(port=ports["simulator"]), encoding="utf-8")
    secret.write_text(secrets.token_urlsafe(48), encoding="utf-8")
    listen = {
        f"TIDEGATE_{name.upper()}_LISTEN": f"127.0.0.1:{port}" for name, port in ports.items()
    }
    common = {
        "TIDEGATE_NATS_URL": ",".join(server.url for server in nats),
        "TIDEGATE_ROUTES_FILE": str(routes),
        "TIDEGATE_STREAM_REPLICAS": str(setup.servers),
        "TIDEGATE_LOG_LEVEL": "warning",
        "TIDEGATE_GATEWAY_TARGET": f"127.0.0.1:{ports['grpc']}",
        "TIDEGATE_SIMULATOR_TTFT_SECONDS": str(setup.ttft),
        "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": str(setup.rate),
        "TIDEGATE_WORKER_CONCURRENCY": str(setup.slots),
        "TIDEGATE_QUEUES": "default",
    }
    if setup.cache:
        common |= {
            "TIDEGATE_CACHE_TARGET": f"127.0.0.1:{ports['cache']}",
            "TIDEGATE_CACHE_KEY_FILE": str(secret),
            "TIDEGATE_CACHE_DIRECTORY": str(directory / "cache"),
        }
    names = ("simulator", "gateway", "streaming", "worker", *(("cache",) if setup.cache else ()))
    return {
        name: ServiceProcess(
            name,
            directory,
            ports["simulator"] if name == "simulator" else free_port(),
            **common,
            **listen,
        )
        for name in names
    }


def _servers(directory: Path, number: int) -> list[NatsServer]:
    if number == 1:
        return [NatsServer(directory, config="max_payload: 8MB")]
    routes = [free_port() for _ in range(number)]
    peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    return [
        NatsServer(
            directory,
            config=f"max_payload: 8MB\nserver_name: bench-{port}\n"
            f'cluster {{ name: bench, listen: "127.0.0.1:{port}", routes: [{peers}] }}\n',
        )
        for port in routes
    ]


def allow_many_files() -> None:
    """A thousand streams are a thousand sockets in several processes, which inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
