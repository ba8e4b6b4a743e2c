"""Processes of a bench: children that answer commands in JSON lines, and what processes cost.

A child's module ends with `serve({"name": coroutine function, ...})`; the bench asks it by
`await child.ask("name", argument=...)`. CPU and memory of any process come from /proc.
"""

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

import uvloop

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
# The kernel's PF_KTHREAD, of the ninth field of /proc/<pid>/stat.
_KERNEL_THREAD: Final = 0x00200000
# One answer holds what became of thousands of jobs.
_LONGEST_LINE = 256 * 1024 * 1024
_PATIENCE = 120.0
# What others may use of the machine for a turn to count where another one was not disturbed.
CALM_CORES: Final = 0.3
_QUIET_CORES: Final = 0.12

Answer = dict[str, Any]


class Measured(Protocol):
    """A turn; `others` is how many cores were busy with something else meanwhile."""

    @property
    def others(self) -> float: ...


T = TypeVar("T", bound=Measured)


class Child:
    """`python -m <module>` beside the bench; ended with it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"},
            limit=_LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, what: str, **arguments: Any) -> Answer:
        """The answer to a command. Raises RuntimeError if the child ended on it."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended on {what}")
        answer: Answer = json.loads(line)
        return answer


def serve(commands: dict[str, Callable[..., Awaitable[Answer]]]) -> None:
    """Carries out commands of standard input until it ends."""

    async def answer() -> None:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            print(json.dumps(await commands[command.pop("do")](**command)), flush=True)

    # A pause of this process would look like one of the service.
    gc.disable()
    uvloop.run(answer())


class Costs:
    """CPU seconds of processes since this was made, by their names.

    The kernel's threads are nobody's: they write back what the bench has written, for one.
    """

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        self._kernel_before = _kernel_seconds()
        self._busy_before = _busy_seconds()
        self._began = time.perf_counter()

    def seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}

    def each(self, number: int) -> dict[str, float]:
        """Microseconds of each process for each of so many things."""
        return {name: spent / max(number, 1) * 1e6 for name, spent in self.seconds().items()}

    def others(self) -> float:
        """CPU seconds of whatever else the machine did, a hypervisor's included."""
        spent = _busy_seconds() - self._busy_before - sum(self.seconds().values())
        return max(spent - self._of_kernel(), 0.0)

    def _of_kernel(self) -> float:
        """Of its threads that still run; those that come and go do little."""
        now, before = _kernel_seconds(), self._kernel_before
        return sum(max(spent - before.get(pid, 0.0), 0.0) for pid, spent in now.items())

    def cores(self) -> dict[str, float]:
        """How many cores each process kept busy; `others` is what else the machine did."""
        elapsed = time.perf_counter() - self._began
        spent = self.seconds() | {"others": self.others()}
        return {name: seconds / elapsed for name, seconds in spent.items()}


async def until_quiet(patience: float) -> bool:
    """Waits for a second in which the machine does next to nothing, at most so many seconds."""
    give_up_at = time.monotonic() + patience
    while time.monotonic() < give_up_at:
        before = _busy_seconds()
        await asyncio.sleep(1.0)
        if _busy_seconds() - before < _QUIET_CORES:
            return True
    return False


def calm(turns: Sequence[T]) -> list[T]:
    """The turns during which others left the cores alone; all of them, if they never did."""
    left_alone = [turn for turn in turns if turn.others <= CALM_CORES]
    return left_alone or list(turns)


def _busy_seconds() -> float:
    """CPU of the whole machine that was not idle, what a hypervisor took included."""
    line = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _kernel_seconds() -> dict[str, float]:
    """CPU of the kernel's threads, by their pids."""
    spent = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # It may end meanwhile.
            fields = _stat_of(pid)
            if int(fields[6]) & _KERNEL_THREAD:
                spent[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
    return spent


def cpu_seconds(pid: int) -> float:
    """CPU of all threads of a process, user and system."""
    fields = _stat_of(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _stat_of(pid: int | str) -> list[str]:
    """The fields of /proc/<pid>/stat that follow its name, its state first."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for each in lists for child in each.read_text("utf-8").split())


def resident_bytes(pid: int) -> int:
    """Memory of a process, without what the kernel holds for its sockets."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def quantile(values: Iterable[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)] if ordered else float("nan")


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and, in brackets, least and most of the rounds."""
    low, high = (f"{edge:,.{digits}f}" for edge in (min(values), max(values)))
    return f"{statistics.median(values):,.{digits}f} ({low}-{high})"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a plain table, the first column to the left."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip(), flush=True)
