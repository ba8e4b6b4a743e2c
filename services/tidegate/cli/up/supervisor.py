"""Keeps a set of processes alive: starts, prefixes their output, restarts, drains.

Each process is started again when it ends by itself, after a pause that grows while it keeps
failing. A drain sends SIGTERM stage by stage, highest first; a second one kills what is left.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from tidegate.chassis.children import die_with_parent
from tidegate.cli.up.plan import ProcessPlan, UpError

_RESTART_SECONDS = (0.25, 10.0)
# A process that lived this long has earned a quick restart.
_STABLE_SECONDS = 30.0
_DRAIN_SECONDS = 30.0
# What a service exits with when its settings cannot be used: starting again is of no use.
_BAD_SETTINGS = 2
_LINE_LIMIT = 1024 * 1024


@dataclass(slots=True)
class _Child:
    plan: ProcessPlan
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    failures: int = 0


@dataclass
class Supervisor:
    """Runs processes. `say` takes (name, line); `environment` is what all of them inherit."""

    say: Callable[[str, str], None]
    environment: dict[str, str]
    _children: list[_Child] = field(default_factory=list)
    _draining: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, plan: ProcessPlan) -> None:
        """Starts a process and keeps it alive.

        Raises:
            UpError: it cannot be started at all.
        """
        child = _Child(plan)
        self._children.append(child)
        await self._spawn(child)
        child.task = asyncio.create_task(self._keep(child), name=f"keep-{plan.name}")

    async def failed(self) -> None:
        """Returns never; raises when a process refuses to start.

        Raises:
            UpError: which one.
        """
        while True:
            tasks = [child.task for child in self._children if child.task is not None]
            done, _ = await asyncio.wait(tasks, timeout=0.5, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    async def drain(self) -> None:
        """Ends every process in order, each stage within the grace."""
        self._draining.set()
        staged = sorted(self._children, key=lambda child: -child.plan.stage)
        for _, stage in groupby(staged, key=lambda child: child.plan.stage):
            await asyncio.gather(*(self._end(child) for child in stage))

    def kill(self) -> None:
        """Ends every process at once."""
        self._draining.set()
        for child in self._children:
            _signal(child, signal.SIGKILL)

    async def _spawn(self, child: _Child) -> None:
        plan = child.plan
        try:
            child.process = await asyncio.create_subprocess_exec(
                *plan.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=self.environment | plan.environment,
                limit=_LINE_LIMIT,
                # Ctrl-C in the terminal is for this process, which then drains in order.
                start_new_session=True,
                # So that its ports come free where this process is killed.
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )
        except OSError as error:
            raise UpError(f"{plan.name} cannot be started: {error.strerror}") from error

    async def _keep(self, child: _Child) -> None:
        while True:
            began = time.monotonic()
            status = await self._until_end(child)
            if self._draining.is_set():
                return
            if status == _BAD_SETTINGS:
                raise UpError(f"{child.plan.name} cannot be started with these settings, see above")
            lived = time.monotonic() - began
            child.failures = 0 if lived > _STABLE_SECONDS else child.failures + 1
            low, high = _RESTART_SECONDS
            pause = min(high, low * 2**child.failures) if child.failures else low
            how = f"signal {-status}" if status < 0 else f"status {status}"
            self.say("up", f"{child.plan.name} ended ({how}); starting it again in {pause:.2g} s")
            await asyncio.sleep(pause)
            if self._draining.is_set():
                return
            await self._spawn(child)

    async def _until_end(self, child: _Child) -> int:
        process = child.process
        if process is None or process.stdout is None:
            raise UpError(f"{child.plan.name} has no output")
        while line := await _read_line(process.stdout):
            self.say(child.plan.name, line.decode(errors="replace").rstrip())
        return await process.wait()

    async def _end(self, child: _Child) -> None:
        _signal(child, signal.SIGTERM)
        if child.process is not None:
            try:
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await child.process.wait()
            except TimeoutError:
                self.say("up", f"{child.plan.name} did not drain in time, killing it")
                _signal(child, signal.SIGKILL)
                await child.process.wait()
        if child.task is not None:
            child.task.cancel()
            await asyncio.gather(child.task, return_exceptions=True)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        return b"(a line too long to show)\n"


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.returncode is None:
        child.process.send_signal(number)
