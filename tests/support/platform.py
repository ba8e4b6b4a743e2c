"""`tidegate up` as a user runs it: a process with the whole platform behind it.

    async with Platform(tmp_path) as platform:
        await platform.tidegate("ask", "...")     # a client command, to its end
        await platform.kill("worker")             # kill -9 of one service; `up` starts it again

Everything is ended by the pid of `up`, which ends its own children.
"""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from tests.support.ports import free_offset
from tidegate.cli.up.plan import PORTS

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str


class Platform:
    """One platform in `directory`, all of its ports moved by the same free offset.

    `options` are those of `tidegate up`, `settings` environment variables for all its services.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        offset: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.data = directory / "data"
        self.offset = free_offset(list(PORTS.values())) if offset is None else offset
        self.log = directory / "up.log"
        self._options = options
        self._settings = settings or {}
        self._process: asyncio.subprocess.Process | None = None

    def port(self, name: str) -> int:
        """The port of a name in the plan's list."""
        return PORTS[name] + self.offset

    @property
    def url(self) -> str:
        """The gateway's HTTP base."""
        return f"http://127.0.0.1:{self.port('gateway HTTP')}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client command is run with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "OPENAI_"))}
        own = {"TIDEGATE_URL": self.url, "PYTHONPATH": os.pathsep.join(sys.path)}
        return kept | own | self._settings

    async def start(self) -> None:
        """Starts and waits for the table. Raises RuntimeError with the log if it ends before."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tidegate.cli", "up", "--data", str(self.data)),
                *("--port-offset", str(self.offset), *self._options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        async with asyncio.timeout(_PATIENCE):
            while "Tidegate is up" not in self.log.read_text(encoding="utf-8"):
                if self._process.returncode is not None:
                    raise RuntimeError(self.log.read_text(encoding="utf-8"))
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """Ctrl-C, and the exit status after the drain."""
        if self._process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_PATIENCE):
            return await self._process.wait()

    def pids_of(self, service: str) -> list[int]:
        """The pids of a service's processes, several for workers."""
        if self._process is None:
            return []
        ends = {"nats": "nats.conf", "cache": "serve"}.get(service, service)
        children = _children_of(self._process.pid)
        return [pid for pid in children if _command_line(pid)[-1].endswith(ends)]

    def pid_of(self, service: str) -> int:
        """The pid of a service that runs once. Raises LookupError while it does not run."""
        for pid in self.pids_of(service):
            return pid
        raise LookupError(service)

    async def kill(self, service: str) -> None:
        """kill -9 of all of a service's processes; returns once `up` has others in their place."""
        victims = self.pids_of(service)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(_PATIENCE):
            while len(set(self.pids_of(service)) - set(victims)) < len(victims):
                await asyncio.sleep(0.02)

    async def until_ready(self, name: str) -> None:
        """Waits until a service's `/readyz` answers 200; `name` is of the plan's list."""
        url = f"http://127.0.0.1:{self.port(name)}/readyz"
        async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url) as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def spawn(self, *arguments: str) -> asyncio.subprocess.Process:
        """A client command, with its output to read."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidegate.cli", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )

    async def tidegate(self, *arguments: str) -> Finished:
        """A client command, to its end."""
        process = await self.spawn(*arguments)
        async with asyncio.timeout(_PATIENCE):
            stdout, stderr = await process.communicate()
        return Finished(process.returncode or 0, stdout.decode(), stderr.decode())

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()


def _children_of(pid: int) -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent_of(entry) == pid
    ]


def _parent_of(entry: Path) -> int | None:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return None


def _command_line(pid: int) -> list[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return [""]
    return raw.decode(errors="replace").rstrip("\0").split("\0")
