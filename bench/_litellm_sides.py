"""The sides of bench.litellm: the simulator asked directly, LiteLLM's proxy, and Tidegate.

All are up for the whole run and asked in turns; who is not asked idles. Every process is
ended by its own pid.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench._child import ROOT, children_of
from tests.support.platform import Platform
from tests.support.ports import free_port

ENVIRONMENT: Final = ROOT / ".venv-litellm"
_PATIENCE: Final = 60.0
_MASTER_KEY: Final = "sk-tidegate-bench"
_CONFIG: Final = """\
model_list:
  - model_name: sim-small
    litellm_params:
      model: openai/sim-small
      api_base: {provider}/v1
      api_key: simulated
litellm_settings:
  set_verbose: false
  request_timeout: 600
general_settings:
  master_key: {key}
"""
# What it would fetch from the net at its start, it takes from its package.
_SETTINGS: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_TELEMETRY_DISABLED": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
}
_TIDEGATE: Final = ("gateway", "worker", "streaming", "nats")

Kill = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Side:
    """Where it is asked, its processes by name, and what can be killed; each is started again."""

    name: str
    port: int
    key: str
    pids: Callable[[], dict[str, int]] = dict
    victims: dict[str, Kill] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def until_up(self) -> None:
        """Waits until it takes requests."""
        await until_ok(f"{self.base}/models", self.key)


class LiteLlm:
    """The proxy of so many worker processes; one alone is started again at once when killed."""

    def __init__(self, directory: Path, provider: str, workers: int = 1) -> None:
        self.port = free_port()
        self._workers = workers
        self._directory = directory
        self._config = directory / "litellm.yaml"
        self._config.write_text(_CONFIG.format(provider=provider, key=_MASTER_KEY))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def side(self) -> Side:
        name = "LiteLLM" if self._workers == 1 else f"LiteLLM, {self._workers} workers"
        victims: dict[str, Kill] = {"its process": self._kill} if self._workers == 1 else {}
        return Side(name, self.port, _MASTER_KEY, self._pids, victims)

    async def start(self) -> None:
        """Starts it with an environment of its own: nothing of this shell's."""
        with (self._directory / "litellm.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(str(ENVIRONMENT / "bin" / "litellm"), "--config", str(self._config)),
                *(
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    "--num_workers",
                    str(self._workers),
                ),
                cwd=self._directory,
                env={"PATH": os.defpath, "HOME": str(self._directory)} | _SETTINGS,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def stop(self) -> None:
        """Ends it; what it still does is for nobody."""
        if self._process is None:
            return
        for pid in (*children_of(self._pid), self._pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._process.wait()

    async def _kill(self) -> None:
        await self.stop()
        await self.start()

    def _pids(self) -> dict[str, int]:
        """Where there are several workers, their parent is one more process."""
        if self._workers == 1:
            return {"litellm": self._pid}
        children = enumerate(children_of(self._pid), 1)
        return {"litellm's parent": self._pid} | {f"litellm {n}": pid for n, pid in children}

    @property
    def _pid(self) -> int:
        assert self._process is not None
        return self._process.pid


@dataclass(frozen=True, slots=True)
class World:
    """The sides in the order of their turns, and the simulator that all of them call.

    `crowd` is a LiteLLM of two workers, for the load that wants all the CPU there is.
    """

    sides: tuple[Side, ...]
    crowd: Side
    provider: "Provider"

    def pids(self) -> dict[str, int]:
        """All servers."""
        found = {"simulator": self.provider.pid()}
        for side in (*self.sides, self.crowd):
            found |= side.pids()
        return found


class Provider:
    """The simulator's control API."""

    def __init__(self, base: str, pid: Callable[[], int]) -> None:
        self.base = base
        self.pid = pid

    async def behave(self, **faults: Any) -> None:
        """Lets all calls that follow behave so; a fault with `calls` holds for so many only."""
        async with aiohttp.ClientSession() as session:
            async with session.delete(f"{self.base}/faults") as response:
                response.raise_for_status()
            await self._add(session, faults)

    async def fault_next(self, pace: dict[str, Any], **fault: Any) -> None:
        """One call with a fault, then the pace alone."""
        await self.behave(calls=1, **pace, **fault)
        async with aiohttp.ClientSession() as session:
            await self._add(session, pace)

    async def reset(self) -> None:
        """Counts anew, once nothing runs."""
        await self.stats(idle_within=_PATIENCE)
        async with (
            aiohttp.ClientSession() as session,
            session.delete(f"{self.base}/stats") as response,
        ):
            response.raise_for_status()

    async def stats(self, idle_within: float = 0.0) -> dict[str, Any]:
        """Totals and calls, after a wait of so many seconds at most until none runs."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.base}/stats", params={"idle_within": str(idle_within)}) as response,
        ):
            found: dict[str, Any] = await response.json()
            return found

    async def _add(self, session: aiohttp.ClientSession, fault: dict[str, Any]) -> None:
        async with session.post(f"{self.base}/faults", json=fault) as response:
            response.raise_for_status()


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    """`tidegate up --no-cache` with its simulator, and LiteLLM's proxies beside it."""
    platform = Platform(
        directory, "--simulator", "--no-cache", settings={"TIDEGATE_LOG_LEVEL": "error"}
    )
    async with platform:
        port = platform.port("simulator")
        provider = Provider(f"http://127.0.0.1:{port}", partial(platform.pid_of, "simulator"))
        proxy = LiteLlm(directory, provider.base)
        crowd = LiteLlm(directory, provider.base, workers=2)
        sides = (Side("direct", port, "simulated"), proxy.side, _tidegate(platform))
        try:
            await asyncio.gather(proxy.start(), crowd.start())
            for side in (*sides, crowd.side):
                await side.until_up()
            yield World(sides, crowd.side, provider)
        finally:
            await asyncio.gather(proxy.stop(), crowd.stop())


def _tidegate(platform: Platform) -> Side:
    return Side(
        "Tidegate",
        platform.port("gateway HTTP"),
        "tidegate-dev",
        lambda: {name: platform.pid_of(name) for name in _TIDEGATE},
        {f"its {name}": partial(platform.kill, name) for name in ("worker", "gateway")},
    )


async def until_ok(url: str, key: str) -> None:
    """Waits until a GET is answered with a 200."""
    headers = {"Authorization": f"Bearer {key}"}
    async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession(headers=headers) as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)


def litellm_version() -> str | None:
    """The version that is installed; None where there is none."""
    for folder in ENVIRONMENT.glob("lib/python*/site-packages/litellm-[0-9]*.dist-info"):
        return folder.name.removeprefix("litellm-").removesuffix(".dist-info")
    return None
