"""The platform under fire: two of each service, one cache, one or three NATS servers, a simulated
provider; all connections between them and to them go over wires of the harness.

    async with System(directory, Topology.ONE) as system:
        await system.strike(fault)

The simulated provider is the judge's witness, so it is never struck; its wire is.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from tests.chaos.plan import Blow, FaultPlan, Wire
from tests.chaos.wires import Line
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import ServiceProcess

MODEL: Final = "sim-small"
_EACH: Final = 2
_SERVICES: Final = ("gateway", "streaming", "worker")
_CLUSTER: Final = 3
_STARTS: Final = 10
# Blows go on while a service starts, on a machine that is busy.
_READY_SECONDS: Final = 90.0
_LAST_WORDS: Final = 1_500
_NATS: Final = "max_payload: 8MB"
# One reader's absence, one retry, one stall: short, so that a round sees them all.
_PATIENCE: Final = {
    "TIDEGATE_LINGER_SECONDS": "2",
    "TIDEGATE_MAX_ATTEMPTS": "8",
    "TIDEGATE_SIMULATOR_TTFT_SECONDS": "0.1",
    "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": "60",
    "TIDEGATE_SIMULATOR_ERROR_RATE": "0.02",
    "TIDEGATE_SIMULATOR_RATE_LIMIT_RATE": "0.02",
    "TIDEGATE_SIMULATOR_CUT_RATE": "0.03",
    "TIDEGATE_SIMULATOR_STALL_RATE": "0.03",
    "TIDEGATE_SIMULATOR_STALL_SECONDS": "4",
    "TIDEGATE_SIMULATOR_CALL_RECORDS": "200000",
    # On a busy machine a lookup that comes late would be a miss, and no fault of the cache a test.
    "TIDEGATE_CACHE_LOOKUP_SECONDS": "1",
    "TIDEGATE_LOG_LEVEL": "info",
}
_ROUTES: Final = """
providers:
  simulator: {{base_url: "http://127.0.0.1:{port}/v1", timeouts: {{between_tokens: 2}}}}
models:
  {model}:
    queue: default
    targets: [{{provider: simulator, price: {{input: 1, output: 2}}}}]
"""


class Topology(StrEnum):
    """What the jobs are kept on."""

    ONE = "one nats-server"
    ALWAYS = "one, sync_interval: always"
    THREE = "three, R3"


class System:
    """Everything, started in order. `processes` are the names of those that may be struck."""

    def __init__(self, directory: Path, topology: Topology) -> None:
        self._directory = directory
        self._topology = topology
        self._stack = contextlib.AsyncExitStack()
        self._services: dict[str, ServiceProcess] = {}
        self._nats = {each.store.name: each for each in _servers(directory, topology)}
        self._busy: dict[str, asyncio.Lock] = {}
        self.simulator_port = free_port()
        # Of services that were not killed; whoever runs one starts it again.
        self.deaths: list[str] = []
        self.lines: dict[Wire, Line] = {}

    @property
    def processes(self) -> tuple[str, ...]:
        """Names, in the same order in every run."""
        servers = [f"nats-{number + 1}" for number in range(len(self._nats))]
        return (*(name for name in self._services if name != "simulator"), *servers)

    @property
    def pids(self) -> dict[str, int]:
        """Of the services, as they run now."""
        return {name: service.pid for name, service in self._services.items()}

    @property
    def nats_url(self) -> str:
        """NATS itself, past the wire."""
        return ",".join(server.url for server in self._nats.values())

    @property
    def simulator_url(self) -> str:
        """The witness."""
        return f"http://127.0.0.1:{self.simulator_port}"

    async def strike(self, fault: FaultPlan) -> None:
        """Does it, and returns when it is over: what was killed works again."""
        async with self._busy.setdefault(fault.target, asyncio.Lock()):
            if fault.target in set(Wire):
                await self.lines[Wire(fault.target)].strike(fault)
            elif fault.target.startswith("nats-"):
                await self._strike_nats(int(fault.target[5:]) - 1, fault)
            else:
                await self._strike_service(self._services[fault.target], fault)

    async def until_ready(self) -> None:
        """Returns when every service says that it is."""
        services = self._services.values()
        await asyncio.gather(*(each.until_ready(_READY_SECONDS) for each in services))

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for service in self._services.values():
            await service.kill()
        await self._stack.aclose()

    async def _start(self) -> None:
        await asyncio.gather(
            *(self._stack.enter_async_context(each) for each in self._nats.values())
        )
        nats = await self._line(Wire.NATS, *(each.port for each in self._nats.values()))
        provider = await self._line(Wire.PROVIDER, self.simulator_port)
        routes = self._directory / "routes.yaml"
        routes.write_text(_ROUTES.format(port=provider.ports[0], model=MODEL), encoding="utf-8")
        secret = self._directory / "cache-key"
        secret.write_text(secrets.token_urlsafe(48), encoding="utf-8")
        cache, grpc = free_port(), [free_port() for _ in range(_EACH)]
        http = [free_port() for _ in range(_EACH)]
        sockets, sse = ([free_port() for _ in range(_EACH)] for _ in range(2))
        common = _PATIENCE | {
            "TIDEGATE_NATS_URL": ",".join(f"nats://127.0.0.1:{port}" for port in nats.ports),
            "TIDEGATE_ROUTES_FILE": str(routes),
            "TIDEGATE_STREAM_REPLICAS": str(len(self._nats)),
            "TIDEGATE_CACHE_TARGET": f"127.0.0.1:{cache}",
            "TIDEGATE_CACHE_KEY_FILE": str(secret),
            "TIDEGATE_CACHE_LISTEN": f"127.0.0.1:{cache}",
            "TIDEGATE_CACHE_DIRECTORY": str(self._directory / "cache"),
            "TIDEGATE_SIMULATOR_LISTEN": f"127.0.0.1:{self.simulator_port}",
            "TIDEGATE_GATEWAY_TARGET": f"127.0.0.1:{grpc[0]}",
        }
        self._add("simulator", "simulator", common, health=self.simulator_port)
        self._add("cache", "cache", common)
        for index in range(_EACH):
            own = {
                "TIDEGATE_HTTP_LISTEN": f"127.0.0.1:{http[index]}",
                "TIDEGATE_GRPC_LISTEN": f"127.0.0.1:{grpc[index]}",
                "TIDEGATE_WEBSOCKET_LISTEN": f"127.0.0.1:{sockets[index]}",
                "TIDEGATE_SSE_LISTEN": f"127.0.0.1:{sse[index]}",
            }
            for name in _SERVICES:
                self._add(f"{name}-{index + 1}", name, common | own)
        for service in self._services.values():
            await service.launch()
        await self.until_ready()
        await self._line(Wire.GATEWAY, *http, *grpc)
        await self._line(Wire.STREAMING, *sockets, *sse)

    def _add(
        self, name: str, service: str, environ: dict[str, str], health: int | None = None
    ) -> None:
        port = free_port() if health is None else health
        self._services[name] = ServiceProcess(service, self._directory, port, **environ)

    async def _line(self, wire: Wire, *targets: int) -> Line:
        line = self.lines[wire] = Line(*targets)
        for proxy in line.proxies:
            await self._stack.enter_async_context(proxy)
        return line

    async def _strike_service(self, service: ServiceProcess, fault: FaultPlan) -> None:
        if fault.blow is Blow.KILL:
            await service.kill()
            await asyncio.sleep(fault.seconds)
            await self._start_again(service, fault.target)
            return
        async with _frozen(service.pid, fault.seconds):
            pass

    async def _start_again(self, service: ServiceProcess, name: str) -> None:
        for _ in range(_STARTS):
            await service.launch()
            try:
                await service.until_ready(_READY_SECONDS)
            except RuntimeError as error:
                self.deaths.append(f"{name} ended by itself: {str(error)[-_LAST_WORDS:]}")
            except TimeoutError:
                said = service.log.read_text(encoding="utf-8")[-_LAST_WORDS:]
                self.deaths.append(f"{name} is not ready: {await service.readiness()}: {said}")
                return
            else:
                return
        raise RuntimeError(f"{name} cannot be started")

    async def _strike_nats(self, index: int, fault: FaultPlan) -> None:
        server = list(self._nats.values())[index]
        if fault.blow is Blow.KILL:
            await server.kill()
            await asyncio.sleep(fault.seconds)
            await server.start()
            return
        async with _frozen(server.pid, fault.seconds):
            pass


@contextlib.asynccontextmanager
async def _frozen(pid: int, seconds: float) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _servers(directory: Path, topology: Topology) -> list[NatsServer]:
    if topology is not Topology.THREE:
        sync = "sync_interval: always" if topology is Topology.ALWAYS else ""
        return [NatsServer(directory, config=_NATS, jetstream=sync)]
    ports = [free_port() for _ in range(_CLUSTER)]
    peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        NatsServer(
            directory,
            config=f"{_NATS}\nserver_name: n{port}\n"
            f'cluster {{ name: chaos, listen: "127.0.0.1:{port}", routes: [{peers}] }}\n',
        )
        for port in ports
    ]
