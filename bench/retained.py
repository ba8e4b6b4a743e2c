"""What a million kept answers and a long queue cost: latencies, memory, starts after kill -9.

    python -m bench.retained [--sealed 1000000] [--queued 100000] [--rounds 3]

NATS with a file store and one copy of everything, one of each service as shipped, and a simulator
that answers at once. First latencies are measured with nothing kept: 20 jobs a second of 20 tokens
each (until the create is acknowledged, until the first token, until the end, over WebSockets), and
20 resumes a second of sealed logs of 102 events. Then NATS is filled: sealed logs of finished jobs,
and jobs in a queue that nobody serves, both of other tenants, beside which the worker serves its
own. The same latencies are measured again; then nats-server is killed with kill -9 and started at
once, then each service; then latencies again.

Nothing that was stored may be gone: messages of the filled subjects are counted by tenant before
the kill and after it, and have to be the same number; and 200 of the sealed logs, spread over all,
are read back and have to be the same bytes. A kill -9 of a process loses nothing that the kernel
has: the page cache is warm, for reads and for the start. It says nothing of a machine that fails.

Every time is counted from when it was due, and every answer checked: all tokens, once, in order.
Latencies are medians and ranges over the rounds; those in which other work kept more than 0.3 cores
busy are left out where one had less. They are within a quarter where the median at p50 and at p95
is no more than a quarter, or 1 ms, over what it was before; p99, near the worst of so few, is shown
and not judged. Seconds of a start are from the kill.
Memory is what is resident, without what the kernel holds; `filled` is after 12 seconds in which the
gateway has read the queue, `in the end` after everything was started again.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench._child import Child, resident_bytes, spread, table
from bench._latency_world import Setup, World, world
from bench._machine import describe
from bench._options import count
from bench._retained_fill import Filler
from bench._retained_kept import Kept, count_kept, read_back
from bench._retained_restart import restart_nats, restart_services
from bench._retained_turns import (
    JOBS,
    LOAD,
    READERS,
    RESUMES,
    SERIES,
    Clients,
    Turn,
    counted,
    take_turn,
)
from tests.support.log_world import LogPeer, connected

GOAL_START_SECONDS: Final = 10.0
_MOST_GROWN: Final = 1.25
_NO_MATTER_MS: Final = 1.0
# The gateway's reaper reads what has waited for 10 s.
_SETTLE_SECONDS: Final = 12.0
_SAMPLE: Final = 200
_MIB: Final = 1024 * 1024


@dataclass(slots=True)
class Found:
    """Everything that is shown in the end."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    starts: dict[str, dict[str, float]] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)
    sample: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """One run. `found` is filled as it goes, `shards` with a job that waits in each of them."""

    at: World
    peer: LogPeer
    clients: Clients
    rounds: int
    found: Found
    shards: list[str] = field(default_factory=list)

    async def run(self, sealed: int, queued: int) -> None:
        filler, to_read = Filler(self.peer), RESUMES * (self.rounds + 1)
        self.shards.extend(await filler.queue_in_each_shard())
        await self._turns("nothing kept", await filler.seal_to_read(to_read))
        self._weigh("nothing kept")
        await filler.queue(queued)
        await filler.seal(sealed, _SAMPLE)
        some = await filler.seal_to_read(2 * to_read)
        await asyncio.sleep(_SETTLE_SECONDS)
        self._weigh("filled")
        self.found.disk = _bytes_under(self.at.nats[0].store)
        await self._turns("filled", some[:to_read])
        await self._restart(filler.sample)
        await self._turns("started again", some[to_read:])
        self._weigh("in the end")

    async def _turns(self, phase: str, sealed: list[str]) -> None:
        """One turn to warm up, and the rounds; each resumes logs that nobody has read.

        Meanwhile streaming follows a job in every shard, as any process with some clients does.
        """
        readers, port = self.clients.readers, self.at.ports["websocket"]
        await readers.ask("hold", port=port, jobs=self.shards, events=0)
        share = len(sealed) // (self.rounds + 1)
        parts = [sealed[at * share : (at + 1) * share] for at in range(self.rounds + 1)]
        taken = [await take_turn(self.at, self.clients, part) for part in parts]
        self.found.turns[phase] = taken[1:]
        await readers.ask("close")
        figures = ", ".join(
            f"{name} {statistics.median(turn.ms[name][0] for turn in taken[1:]):.1f}"
            for name in SERIES
        )
        print(f"{phase}: p50 in ms: {figures}", flush=True)

    async def _restart(self, sample: dict[str, bytes]) -> None:
        before = await count_kept(self.peer)
        self.found.starts["the nats-server"] = await restart_nats(self.at)
        after = await count_kept(self.peer)
        if after != before:
            raise RuntimeError(f"not the same after kill -9: {before} before it, {after} after it")
        if wrong := await read_back(self.peer, sample):
            raise RuntimeError(f"{len(wrong)} sealed logs are other ones, such as {wrong[0]}")
        self.found.kept, self.found.sample = after, len(sample)
        self.found.starts["each service"] = await restart_services(self.at)

    def _weigh(self, when: str) -> None:
        self.found.memory[when] = {name: resident_bytes(pid) for name, pid in self.at.pids.items()}


def _bytes_under(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def show(found: Found) -> None:
    first, *later = found.turns
    table(
        "Latencies in ms: median (least-most) of rounds",
        ("", "", "p50", "p95", "p99"),
        (
            (name, phase, *(_ms(turns, name, at) for at in range(3)))
            for name in SERIES
            for phase, turns in found.turns.items()
        ),
    )
    for phase in later:
        _judge_latencies(phase, found.turns[first], found.turns[phase])
    table(
        "Resident memory, MiB",
        ("", *found.memory),
        (
            (name, *(f"{each[name] / _MIB:,.0f}" for each in found.memory.values()))
            for name in found.memory["filled"]
        ),
    )
    print(f"  store on disk, filled: {found.disk / _MIB:,.0f} MiB")
    print(
        f"  after kill -9 of nats-server: {_kept(found, 'sealed')} sealed logs and "
        f"{_kept(found, 'queued')} queued jobs, as many of each tenant as before it; "
        f"{found.sample} of the logs read back, the same bytes"
    )
    for killed, times in found.starts.items():
        for what, seconds in times.items():
            met = "met" if seconds < GOAL_START_SECONDS else "NOT met"
            print(
                f"  kill -9 of {killed}: {what} after {seconds:.2f} s, "
                f"goal {GOAL_START_SECONDS:g} s {met}"
            )


def _kept(found: Found, what: str) -> str:
    return f"{sum(number for name, number in found.kept.items() if name.startswith(what)):,}"


def _ms(turns: Sequence[Turn], name: str, at: int) -> str:
    return spread([turn.ms[name][at] for turn in counted(list(turns))])


def _judge_latencies(phase: str, before: list[Turn], after: list[Turn]) -> None:
    for name in SERIES:
        figures, within = [], True
        for at in (0, 1):
            one, other = (
                statistics.median(turn.ms[name][at] for turn in counted(turns))
                for turns in (before, after)
            )
            figures.append(f"{one:.1f} -> {other:.1f}")
            within &= other <= max(one * _MOST_GROWN, one + _NO_MATTER_MS)
        met = "met" if within else "NOT met"
        print(
            f"  {phase}, {name}: p50 {figures[0]}, p95 {figures[1]} ms, goal within a quarter {met}"
        )


async def measure(sealed: int, queued: int, rounds: int) -> None:
    begun, found = time.monotonic(), Found()
    setup = Setup(JOBS.jobs, JOBS.rate, JOBS.ttft)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        async with (
            world(Path(folder), setup) as at,
            connected(at.nats_url, timeout_seconds=10.0) as peer,
            Child(LOAD) as load,
            Child(READERS) as readers,
        ):
            await Bench(at, peer, Clients(load, readers), rounds, found).run(sealed, queued)
    print(f"\n{sealed:,} sealed logs, {queued:,} queued jobs")
    show(found)
    print(f"\n{rounds} rounds, {time.monotonic() - begun:.0f} s in all")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sealed", type=count, default=1_000_000, help="logs of finished jobs")
    parser.add_argument("--queued", type=count, default=100_000, help="jobs that nobody serves")
    parser.add_argument("--rounds", type=count, default=3, help="of latencies, each time")
    chosen = parser.parse_args()
    print(describe(), flush=True)
    uvloop.run(measure(chosen.sealed, chosen.queued, chosen.rounds))


if __name__ == "__main__":
    main()
