"""The servers of bench.synchronous, and the simulator that all of them call.

Every round has fresh ones, so that peaks of memory are its own. Each is ended by its own pid.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from bench._child import ROOT
from bench._synchronous_load import Ask, Asked, Load, ask_job, ask_streamed, ask_whole
from tests.support.platform import Platform
from tests.support.ports import free_port

_PATIENCE: Final = 30.0
_SERVICES: Final = ("gateway", "worker", "streaming", "nats")

Pids = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Server:
    """A side that runs: how it is asked, and its processes by name."""

    ask: Ask
    pids: Callable[[], Pids]


# From the simulator's base to a running side.
Start = Callable[[str], AbstractAsyncContextManager[Server]]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to serve; `reply` is what its first sign of life is."""

    name: str
    title: str
    reply: str
    start: Start


SIDES: Final = ("sync", "async", "tidegate")


def all_sides(workers: int, slots: int) -> list[Side]:
    """In the order in which they take turns."""
    return [
        Side("sync", "sync handler", "whole answer", partial(_uvicorn, ask_whole)),
        Side("async", "async handler", "headers", partial(_uvicorn, ask_streamed)),
        Side("tidegate", "Tidegate", "job id", partial(_tidegate, workers, slots)),
    ]


@asynccontextmanager
async def simulator(load: Load) -> AsyncIterator[tuple[str, int]]:
    """A simulator in a process of its own: its base and pid."""
    port = free_port()
    settings = {
        "TIDEGATE_SIMULATOR_LISTEN": f"127.0.0.1:{port}",
        "TIDEGATE_SIMULATOR_TTFT_SECONDS": str(load.ttft),
        "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": str(load.rate),
        "TIDEGATE_LOG_LEVEL": "error",
    }
    async with _process(settings, "-m", "tidegate.cli", "simulator") as pid:
        base = f"http://127.0.0.1:{port}"
        await _until(f"{base}/readyz")
        yield base, pid


async def calls_started(base: str, idle_within: float = 0.0) -> int:
    """Calls that have reached the simulator, after a wait until none runs."""
    query = {"limit": "0", "idle_within": str(idle_within)}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{base}/stats", params=query) as response,
    ):
        return int((await response.json())["started"])


@asynccontextmanager
async def _uvicorn(
    ask: Callable[[str, aiohttp.ClientSession, Asked], Awaitable[None]], provider: str
) -> AsyncIterator[Server]:
    port = free_port()
    arguments = (
        *("-m", "uvicorn", "bench._synchronous_app:app", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "critical", "--no-access-log"),
    )
    settings = {"OPENAI_BASE_URL": f"{provider}/v1", "OPENAI_API_KEY": "simulated"}
    async with _process(settings, *arguments) as pid:
        base = f"http://127.0.0.1:{port}"
        await _until(f"{base}/openapi.json")
        yield Server(partial(ask, base), lambda: {"uvicorn": [pid]})


@asynccontextmanager
async def _tidegate(workers: int, slots: int, provider: str) -> AsyncIterator[Server]:
    options = ("--no-cache", "--base-url", f"{provider}/v1", "--model", "sim-small")
    settings = {"TIDEGATE_WORKER_CONCURRENCY": str(slots), "TIDEGATE_LOG_LEVEL": "warning"}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        platform = Platform(Path(folder), *options, "--workers", str(workers), settings=settings)
        async with platform:
            yield Server(
                partial(ask_job, platform.url),
                lambda: {service: platform.pids_of(service) for service in _SERVICES},
            )


@asynccontextmanager
async def _process(settings: dict[str, str], *arguments: str) -> AsyncIterator[int]:
    """A Python process at the repository's root. Killed: what it still does is for nobody."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "OPENAI_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env=kept | {"PYTHONPATH": f"{ROOT}/services:{ROOT}"} | settings,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until(url: str) -> None:
    async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)
