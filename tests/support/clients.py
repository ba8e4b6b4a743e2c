"""The OpenAI door with everything behind it, and the stock clients that knock.

    async with Door(tmp_path) as door:
        async with door.openai() as client: ...          # openai-py, as its users have it
        told = await node.tell("openai.mjs", "answers", door)

`Node` runs the scripts of tests/clients with the packages of its lock file, which it installs once
into a cache beside other tools' caches, never into the checkout.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from openai import AsyncOpenAI, OpenAI

from tests.support.cutter import MODELS as CUTS
from tests.support.platform import Platform
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.tools import require_tool

KEY = "tidegate-dev"
SCRIPTS = ROOT / "tests" / "clients"
NODE_HINT = "`make deps` installs Node and npm"
_PATIENCE = 60.0
# The clients, each with models of its own that fail.
WHO = ("sync", "async", "node", "ai")
# A reader who went is missed after so many seconds, and two of asking whether it came back.
LINGER = 0.5
# A stream's headers wait so many seconds for its first token. More than a client's patience in
# tests, so that a stream which has not begun is asked for again too.
HEADERS = 2.0


class Simulator:
    """The control API of a simulator at `url`, from any event loop."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def fault(self, **fault: Any) -> None:
        """Has calls fail; see the control API."""
        await _json("POST", f"{self.url}/faults", fault)

    async def clear(self) -> None:
        """No faults."""
        await _json("DELETE", f"{self.url}/faults")

    async def reset(self) -> None:
        """No faults, and nothing counted."""
        await self.clear()
        await _json("DELETE", f"{self.url}/stats")

    async def stats(self, query: str = "") -> Any:
        """Totals and calls."""
        return await _json("GET", f"{self.url}/stats?{query}")

    async def settled(self) -> Any:
        """Totals and calls, once none runs."""
        stats = await self.stats("idle_within=30")
        assert stats["running"] == 0
        return stats

    async def until_started(self, number: int) -> None:
        """Returns when so many calls have begun since the reset."""
        async with asyncio.timeout(_PATIENCE):
            while (await self.stats("limit=0"))["started"] < number:
                await asyncio.sleep(0.02)


async def _json(method: str, url: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=body) as response,
    ):
        assert response.ok, await response.text()
        return await response.json() if response.status != 204 else None


class Door(Platform):
    """A platform for clients: quick, with models for every fault, and with a short linger.

    `sim-small` lets `top_k` through; `gate-keeper` is another name for it. A fault is posted for a
    model that its test uses alone, so that one test's breaker is not another's. The models of
    tests/support/cutter.py are at `cutter_port`.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        routes = directory / "routes.yaml"
        models = ["sim-small", "sim-flaky", "sim-stalled", "sim-slow"]
        models += [f"sim-{how}-{who}" for how in ("limited", "broken", "torn") for who in WHO]
        quick = {
            "TIDEGATE_SIMULATOR_MODELS": ",".join(models),
            "TIDEGATE_SIMULATOR_TTFT_SECONDS": "0.02",
            "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": "400",
            "TIDEGATE_LINGER_SECONDS": str(LINGER),
            "TIDEGATE_HEARTBEAT_SECONDS": "0.2",
            "TIDEGATE_STREAM_HEADERS_SECONDS": str(HEADERS),
            "TIDEGATE_MAX_ATTEMPTS": "2",
        }
        options = ("--simulator", "--no-cache", "--routes", str(routes))
        super().__init__(directory, *options, settings=quick | settings)
        self.cutter_port = free_port()
        text = _routes(self.port("simulator"), models, self.cutter_port)
        routes.write_text(text, encoding="utf-8")
        self.simulator = Simulator(f"http://127.0.0.1:{self.port('simulator')}")

    def openai(self, **options: Any) -> AsyncOpenAI:
        """openai-py, which refuses what is not exactly OpenAI's, and repeats nothing by itself."""
        return AsyncOpenAI(**self._options_of(options))

    def openai_sync(self, **options: Any) -> OpenAI:
        """The same, for threads."""
        return OpenAI(**self._options_of(options))

    def _options_of(self, options: dict[str, Any]) -> dict[str, Any]:
        usual = {"base_url": f"{self.url}/v1", "api_key": KEY, "max_retries": 0, "timeout": 30}
        return usual | {"_strict_response_validation": True} | options

    async def job(self, job_id: str) -> Any:
        """A job, as `GET /v1/jobs/{id}` shows it."""
        return await _json("GET", f"{self.url}/v1/jobs/{job_id}")

    async def jobs(self) -> Any:
        """The newest jobs come last."""
        return (await _json("GET", f"{self.url}/v1/jobs?page_size=200"))["jobs"]

    async def until_ended(self, job_id: str) -> Any:
        """The job once it has ended."""
        async with asyncio.timeout(_PATIENCE):
            while (job := await self.job(job_id))["finished_at"] is None:
                await asyncio.sleep(0.05)
        return job


def _routes(port: int, models: list[str], cutter_port: int) -> str:
    targets = "{queue: default, targets: [{provider: simulator}]}"
    return "\n".join(
        [
            "providers:",
            f"  simulator: {{base_url: 'http://127.0.0.1:{port}/v1'}}",
            f"  cutter: {{base_url: 'http://127.0.0.1:{cutter_port}/v1'}}",
            "models:",
            f"  {models[0]}: {targets}".replace("{queue", "{extra_body: [top_k], queue"),
            *(f"  {model}: {targets}" for model in models[1:]),
            "  gate-keeper: {queue: default, targets: [{provider: simulator, model: sim-small}]}",
            *(f"  {model}: {{queue: default, targets: [{{provider: cutter}}]}}" for model in CUTS),
            "  sim-embedding: {kind: embeddings, targets: [{provider: simulator}]}",
            "",
        ]
    )


class NodeError(AssertionError):
    """A script failed; what it said."""


class Node:
    """Node, and a folder with the packages of tests/clients that it runs scripts in."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self.folder = folder

    async def run(self, script: str, *arguments: str, **environ: str) -> str:
        """Runs a script of the folder to its end, and gives what it printed.

        Raises NodeError for any exit status but 0.
        """
        process = await asyncio.create_subprocess_exec(
            *(self._program, script, *arguments),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"]} | environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                stdout, stderr = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise NodeError(stderr.decode())
        return stdout.decode()

    async def tell(self, script: str, scenario: str, door: Door, **given: Any) -> Any:
        """The result of a script's scenario; it finds the door in TIDEGATE_URL."""
        arguments = (scenario, msgspec.json.encode(given).decode())
        return msgspec.json.decode(await self.run(script, *arguments, TIDEGATE_URL=door.url))


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[Node]:
    """Node with its packages. Skips, or fails in CI, where it is missing."""
    program, npm = require_tool("node", NODE_HINT), require_tool("npm", NODE_HINT)
    packages = await _packages(npm)
    with tempfile.TemporaryDirectory(prefix="tidegate-clients-") as made:
        folder = Path(made)
        # Node looks for packages beside the script that wants them.
        (folder / "node_modules").symlink_to(packages)
        for script in SCRIPTS.glob("*.mjs"):
            shutil.copy(script, folder)
        yield Node(program, folder)


async def _packages(npm: str) -> Path:
    """The installed packages of the lock file as it is now."""
    lock = (SCRIPTS / "package-lock.json").read_bytes()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate"
    kept = caches / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not kept.exists():
        caches.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=caches) as made:
            fresh = Path(made) / "packages"
            fresh.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SCRIPTS / name, fresh)
            await _install(npm, fresh)
            # Another session may have been quicker; its packages are the same.
            with contextlib.suppress(OSError):
                fresh.rename(kept)
    return kept / "node_modules"


async def _install(npm: str, folder: Path) -> None:
    print(f"\nInstalling the JavaScript clients of {SCRIPTS.name}/package-lock.json", flush=True)
    process = await asyncio.create_subprocess_exec(
        *(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
