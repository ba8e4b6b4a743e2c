"""Rounds of bench.synchronous: every number of users through every side, in turns."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from bench._synchronous_load import Asked, Load, ask_all, ask_once
from bench._synchronous_sides import Pids, Side, calls_started, simulator

_TICKS: Final = os.sysconf("SC_CLK_TCK")
# Of all cores, and how long it is watched.
_QUIET_SHARE: Final = 0.1
_WATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU: the side's servers, the load generator, the simulator, the whole machine."""

    servers: float
    generator: float
    simulator: float
    machine: float

    @property
    def elsewhere(self) -> float:
        """What other work took of the machine meanwhile."""
        return max(self.machine - self.servers - self.generator - self.simulator, 0.0)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(
            self.servers - other.servers,
            self.generator - other.generator,
            self.simulator - other.simulator,
            self.machine - other.machine,
        )


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one side with so many users; memory in MiB, by process."""

    side: Side
    users: int
    asked: list[Asked]
    calls: int
    cpu: Cpu
    memory: dict[str, float]

    @property
    def served(self) -> int:
        """Users who got their whole answer."""
        return sum(each.whole < inf for each in self.asked)

    @property
    def wrong(self) -> int:
        """Users who got another text than the model's, or events out of order."""
        return sum(each.wrong for each in self.asked)

    @property
    def seconds(self) -> float:
        """From the first user's arrival to the last answer; infinite if not all were served."""
        return max(each.at + each.whole for each in self.asked) - self.asked[0].at


async def measure(
    sides: Sequence[Side], numbers: Sequence[int], load: Load, patience: float
) -> list[Round]:
    """Runs the rounds, each after a wait of at most `patience` seconds until the machine is quiet.

    Raises:
        RuntimeError: a server did not live through a round.
    """
    rounds = []
    async with simulator(load) as (provider, pid):
        for users in numbers:
            for side in sides:
                await _until_quiet(patience)
                rounds.append(await _round(side, users, load, provider, pid))
                # What a killed server had called for is not to run into the next round.
                await calls_started(provider, idle_within=10)
    return rounds


async def _until_quiet(patience: float) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        before = _cpu_of_all()
        await asyncio.sleep(_WATCH_SECONDS)
        busy = (_cpu_of_all() - before) / _WATCH_SECONDS / (os.cpu_count() or 1)
        if busy < _QUIET_SHARE:
            return
    if patience:
        print(f"    the machine was not quiet within {patience:g} s", flush=True)


async def _round(side: Side, users: int, load: Load, provider: str, simulator_pid: int) -> Round:
    name = f"{side.name}, {users:,} users"
    print(f"{name} ...", flush=True)
    async with side.start(provider) as server:
        await ask_once(server.ask, load)
        pids, calls = server.pids(), await calls_started(provider)
        cpu = _cpu(pids, simulator_pid)
        asked = await ask_all(server.ask, load, users, name)
        if server.pids() != pids:
            raise RuntimeError(f"{name}: a server ended and was started anew")
        cpu = _cpu(pids, simulator_pid) - cpu
        calls = await calls_started(provider) - calls
        found = Round(side, users, asked, calls, cpu, _peak_mib(pids))
    _tell(found)
    return found


def _tell(found: Round) -> None:
    memory = ", ".join(f"{name} {mib:.0f}" for name, mib in found.memory.items())
    again = sum(each.attempts > 1 for each in found.asked)
    cpu = found.cpu
    print(
        f"    {found.served:,} served; MiB: {memory}; "
        f"CPU s: load generator {cpu.generator:.1f}, simulator {cpu.simulator:.1f}"
        + (f"; {again} jobs took more than one attempt" if again else ""),
        flush=True,
    )


def _cpu(servers: Pids, simulator_pid: int) -> Cpu:
    return Cpu(
        servers=sum(_cpu_of(pid) for each in servers.values() for pid in each),
        generator=_cpu_of(os.getpid()),
        simulator=_cpu_of(simulator_pid),
        machine=_cpu_of_all(),
    )


def _cpu_of(pid: int) -> float:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _cpu_of_all() -> float:
    """All cores: user, nice, system, and interrupts."""
    user, nice, system, _idle, _iowait, irq, softirq = _read("/proc/stat").split()[1:8]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS


def _peak_mib(pids: Pids) -> dict[str, float]:
    """The most resident memory that each had; what they share counts for each."""
    return {name: sum(_peak_of(pid) for pid in each) for name, each in pids.items()}


def _peak_of(pid: int) -> float:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
