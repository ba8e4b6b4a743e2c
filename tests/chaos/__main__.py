"""Runs rounds of chaos and prints what came of them.

One round after the other for so long: on one nats-server, on one that syncs every write, and on
three with three copies of everything. With a seed its rounds begin with that one; a plan is drawn
from the seed, the size of a round, the names of what the topology has, and whether it is a soak,
and a complaint comes with the command that says all of them. In a soak, services are frozen where
they would be killed, and one that grows by more than 5 % is a complaint. Ends with 1 where there is
a complaint, and with 130 on Ctrl-C or SIGTERM, after what was seen until then.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from bench._options import count
from tests.chaos.footprints import FEWEST_ROUNDS, not_flat
from tests.chaos.plan import draw
from tests.chaos.report import Total, print_round, print_total, say
from tests.chaos.rounds import Arena
from tests.chaos.servers import Topology
from tests.chaos.system import System

_LOAD_SECONDS = 15.0
_REMOVING_SECONDS = 10.0
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Extent:
    """How much: seconds and jobs of the whole run at least, and jobs of each round."""

    seconds: float
    jobs: int
    round: int
    soak: bool = False

    def again(self, seed: int, topology: Topology) -> str:
        """The command that begins with this very plan."""
        soak = " SOAK=yes" if self.soak else ""
        name = topology.name.lower()
        return f"make chaos SEED={seed} TOPOLOGY={name} ROUND={self.round}{soak}"


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Removed in the end, as soon as what the cache has started writes no more."""
    directory = Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))
    try:
        yield directory
    finally:
        until = time.monotonic() + _REMOVING_SECONDS
        while directory.exists() and time.monotonic() < until:
            shutil.rmtree(directory, ignore_errors=True)
            time.sleep(0.1)


async def run(topologies: list[Topology], seed: int, extent: Extent, total: Total) -> None:
    """Each topology has its share of the seconds and of the jobs, and one round at least.

    One that cannot be played on is given up, with a complaint, and what came before it counts.
    """
    share = replace(
        extent, seconds=extent.seconds / len(topologies), jobs=extent.jobs // len(topologies)
    )
    for topology in topologies:
        try:
            with _directory() as directory:
                say(f"{topology}: starting")
                async with System(directory, topology) as system:
                    await _play(system, topology, seed, share, total)
        except (RuntimeError, OSError, TimeoutError, ExceptionGroup) as error:
            traceback.print_exc()
            total.wrong.append(f"{topology} was given up: {error!r}")
        seed += len(total.of(topology))
        if extent.soak:
            total.wrong += not_flat([each.footprints for each in total.of(topology)])


def interruptible(topologies: list[Topology], seed: int, extent: Extent, total: Total) -> bool:
    """Runs; whether it was interrupted, by Ctrl-C or SIGTERM."""

    async def until_signal() -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        await run(topologies, seed, extent, total)

    try:
        uvloop.run(until_signal())
    except asyncio.CancelledError:
        return True
    return False


async def _play(
    system: System, topology: Topology, seed: int, extent: Extent, total: Total
) -> None:
    arena, began, asked = Arena(system, say), time.monotonic(), 0
    while asked < extent.jobs or time.monotonic() - began < extent.seconds:
        plan = draw(
            seed,
            jobs=extent.round,
            seconds=_LOAD_SECONDS,
            processes=system.processes,
            leaders=system.leaders,
            spared=system.services if extent.soak else (),
        )
        say(f"{topology}: seed {seed}, {len(plan.jobs)} jobs, {len(plan.faults)} blows")
        one = await arena.play(plan)
        total.rounds.append((topology, one))
        print_round(one, extent.again(one.seed, topology))
        if one.broken:
            say(f"{topology}: given up")
            return
        asked += extent.round
        seed += 1


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=600.0, help="of the whole run at least (600)")
    add("--jobs", type=count, default=1000, help="of the whole run at least (1000)")
    add("--round", type=count, default=250, help="jobs of each round (250)")
    add("--seed", type=int, help="of the first round; the next ones follow it")
    names = [each.name.lower() for each in Topology]
    add("--topology", choices=names, help="one of the three, each of which has its share else")
    add("--soak", action="store_true", help=f"of {FEWEST_ROUNDS} rounds for each at least")
    return parser.parse_args()


def main() -> int:
    """The exit status."""
    chosen = parse()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    topologies = [Topology[chosen.topology.upper()]] if chosen.topology else list(Topology)
    say(f"SEED={seed}")
    began, total = time.monotonic(), Total()
    extent = Extent(chosen.seconds, chosen.jobs, chosen.round, chosen.soak)
    interrupted = interruptible(topologies, seed, extent, total)
    print_total(total, time.monotonic() - began)
    if interrupted:
        say("interrupted")
        return _INTERRUPTED
    return 1 if total.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
