"""Rounds of bench.synchronous: every number of users through every side, in turns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from bench._child import Costs, quantile, until_quiet
from bench._synchronous_load import Asked, Load, ask_all, ask_once
from bench._synchronous_sides import Pids, Side, calls_started, simulator


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of CPU: the side's servers, the load generator, the simulator, all other work."""

    servers: float
    generator: float
    simulator: float
    elsewhere: float


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
    def late_p99_ms(self) -> float:
        """How late the load generator itself began, in milliseconds."""
        return quantile([each.late for each in self.asked], 0.99) * 1e3

    @property
    def wrong(self) -> int:
        """Users who got another text than the model's, or events out of order."""
        return sum(each.wrong for each in self.asked)

    @property
    def seconds(self) -> float:
        """From the first user's arrival to the last answer; infinite if not all were served."""
        return max(each.at + each.whole for each in self.asked) - self.asked[0].at


async def measure(
    sides: Sequence[Side], numbers: Sequence[int], load: Load, rounds: int, patience: float
) -> list[Round]:
    """Runs the rounds, each turn after a wait of at most `patience` seconds for a quiet machine.

    Raises:
        RuntimeError: a server did not live through a round.
    """
    made = []
    async with simulator(load) as (provider, pid):
        for users in numbers:
            for number in range(rounds):
                for side in _in_turn(sides, number):
                    if not await until_quiet(patience) and patience:
                        print(f"    the machine was not quiet within {patience:g} s", flush=True)
                    made.append(await _round(side, users, load, provider, pid))
                    # What a killed server had called for is not to run into the next round.
                    await calls_started(provider, idle_within=10)
    return made


def _in_turn(sides: Sequence[Side], number: int) -> Sequence[Side]:
    """Another one is first each time."""
    first = number % len(sides)
    return [*sides[first:], *sides[:first]]


async def _round(side: Side, users: int, load: Load, provider: str, simulator_pid: int) -> Round:
    name = f"{side.name}, {users:,} users"
    print(f"{name} ...", flush=True)
    async with side.start(provider) as server:
        await ask_once(server.ask, load)
        pids, calls = server.pids(), await calls_started(provider)
        costs = _costs(pids, simulator_pid)
        asked = await ask_all(server.ask, load, users, name)
        if server.pids() != pids:
            raise RuntimeError(f"{name}: a server ended and was started anew")
        cpu = _cpu(costs)
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
        f"CPU s: load generator {cpu.generator:.1f}, simulator {cpu.simulator:.1f}; "
        f"load generator late by {found.late_p99_ms:.0f} ms at p99"
        + (f"; {again} jobs took more than one attempt" if again else ""),
        flush=True,
    )


def _costs(servers: Pids, simulator_pid: int) -> Costs:
    named = {f"{name} {pid}": pid for name, pids in servers.items() for pid in pids}
    return Costs(named | {"generator": os.getpid(), "simulator": simulator_pid})


def _cpu(costs: Costs) -> Cpu:
    elsewhere, spent = costs.others(), costs.seconds()
    generator, simulated = spent.pop("generator"), spent.pop("simulator")
    return Cpu(sum(spent.values()), generator, simulated, elsewhere)


def _peak_mib(pids: Pids) -> dict[str, float]:
    """The most resident memory that each had; what they share counts for each."""
    return {name: sum(_peak_of(pid) for pid in each) for name, each in pids.items()}


def _peak_of(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)
