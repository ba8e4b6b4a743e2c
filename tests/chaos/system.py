"""The platform under fire: two of each service, one cache, one or three NATS servers, a simulated
provider; all connections between them and to them go over wires of the harness.

    async with System(directory, Topology.ONE) as system:
        await system.strike(fault)

The simulated provider is the judge's witness, so it is never struck; its wire is.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from tests.chaos.mortals import READY_SECONDS, Mortal, Service, revive, strike
from tests.chaos.peers import bypasses, peers_of
from tests.chaos.plan import FaultPlan, Leader, Wire
from tests.chaos.servers import Topology, leaders, servers
from tests.chaos.wires import Line
from tests.support.ports import free_port

MODEL: Final = "sim-small"
_EACH: Final = 2
_SERVICES: Final = ("gateway", "streaming", "worker")
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


class System:
    """Everything, started in order. `processes` are the names of those that may be struck."""

    def __init__(self, directory: Path, topology: Topology) -> None:
        self._directory = directory
        self._topology = topology
        self._stack = contextlib.AsyncExitStack()
        self._services: dict[str, Service] = {}
        self._nats = servers(directory, topology)
        self._busy: dict[str, asyncio.Lock] = {}
        self.simulator_port = free_port()
        # Of processes that were not killed, and whatever else is wrong with them.
        self._wrong: list[str] = []
        self.lines: dict[Wire, Line] = {}

    @property
    def processes(self) -> tuple[str, ...]:
        """Names, in the same order in every run."""
        return (*(name for name in self._services if name != "simulator"), *self._nats)

    @property
    def leaders(self) -> tuple[str, ...]:
        """What else of the nats-servers may be struck, whichever it is then."""
        return tuple(Leader) if self._topology is Topology.THREE else ()

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services."""
        return tuple(self._services)

    @property
    def pids(self) -> dict[str, int]:
        """Of all that runs now."""
        return {name: each.pid for name, each in self._mortals.items() if not each.ended}

    @property
    def nats_url(self) -> str:
        """NATS itself, past the wire."""
        return ",".join(server.url for server in self._nats.values())

    @property
    def simulator_url(self) -> str:
        """The witness."""
        return f"http://127.0.0.1:{self.simulator_port}"

    async def strike(self, fault: FaultPlan) -> str:
        """Does it, and returns when it is over: what was killed works again.

        Says what was struck; of a nats-server also which streams it led.
        """
        if fault.target in set(Wire):
            async with self._lock(fault.target):
                await self.lines[Wire(fault.target)].strike(fault)
            return f"{fault.blow}, {fault.target}"
        name, led = await self._aim(fault.target)
        async with self._lock(name):
            self._wrong += await strike(name, self._mortals[name], fault)
        return ", ".join([fault.blow, name, *led])

    async def rest(self) -> list[str]:
        """Starts again what has ended by itself, and waits until every service is ready.

        Returns what is wrong, this and all that was since the last time.
        """
        for name, mortal in self._mortals.items():
            self._wrong += await revive(name, mortal)
        await asyncio.gather(*(self._is_ready(name) for name in self._services))
        wrong, self._wrong = [*self._wrong, *self._bypasses()], []
        return wrong

    @property
    def _mortals(self) -> dict[str, Mortal]:
        # Services are not ready without NATS.
        return {**self._nats, **self._services}

    def _bypasses(self) -> Iterator[str]:
        """A wire that is struck must be the only way."""
        lines = {wire: self.lines[wire] for wire in (Wire.NATS, Wire.PROVIDER)}
        return bypasses(
            {
                name: peers_of(service.pid)
                for name, service in self._services.items()
                if name != "simulator" and not service.ended
            },
            behind={wire: line.targets for wire, line in lines.items()},
            before={wire: line.ports for wire, line in lines.items()},
            # Connections to the provider are made for calls, and none runs now.
            wanted={Wire.NATS: [name for name in self._services if name.startswith(_SERVICES)]},
        )

    def _lock(self, target: str) -> asyncio.Lock:
        return self._busy.setdefault(target, asyncio.Lock())

    async def _aim(self, target: str) -> tuple[str, list[Leader]]:
        """The process that is meant, and what it leads."""
        if target not in self._nats and target not in set(Leader):
            return target, []
        if self._topology is not Topology.THREE:
            return target, []
        led = await leaders(self._nats, [each.name for each in Leader])
        if target in set(Leader):
            # Where nobody says who leads, the leader is struck already, or there is none.
            spared = [name for name in self._nats if not self._lock(name).locked()]
            target = led.get(Leader(target).name, (spared or list(self._nats))[0])
        return target, [each for each in Leader if led.get(each.name) == target]

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
        await asyncio.gather(*(each.until_ready(READY_SECONDS) for each in self._services.values()))
        await self._line(Wire.GATEWAY, *http, *grpc)
        await self._line(Wire.STREAMING, *sockets, *sse)

    def _add(
        self, name: str, service: str, environ: dict[str, str], health: int | None = None
    ) -> None:
        port = free_port() if health is None else health
        self._services[name] = Service(service, self._directory, port, **environ)

    async def _line(self, wire: Wire, *targets: int) -> Line:
        line = self.lines[wire] = Line(*targets)
        for proxy in line.proxies:
            await self._stack.enter_async_context(proxy)
        return line

    async def _is_ready(self, name: str) -> None:
        try:
            await self._services[name].until_ready(READY_SECONDS)
        except (RuntimeError, TimeoutError) as error:
            self._wrong.append(f"{name} is not ready: {error!r}")
