"""Runs rounds of chaos and prints what came of them.

    python -m tests.chaos [--seconds 600] [--seed N] [--jobs 1000] [--round 250]
                          [--topology one|always|three] [--soak]

A plan is drawn from the seed, the size of a round, the names of what the topology has, and whether
it is a soak: a complaint names all of them.

One round after the other for so long: on one nats-server, on one that syncs every write, and on
three with three copies of everything. With a seed its rounds begin with that one. Ends with 1 where
the judge has a complaint; each is printed with the seed that shows it again. In a soak, services
are frozen where they would be killed, and one that grows by more than 5 % is a complaint.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from bench._machine import describe
from tests.chaos.footprints import growth, not_flat
from tests.chaos.plan import draw
from tests.chaos.rounds import Arena, Round
from tests.chaos.servers import Topology
from tests.chaos.system import System

_LOAD_SECONDS = 15.0
_REMOVING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How much: seconds and jobs of the whole run at least, and jobs of each round."""

    seconds: float
    jobs: int
    round: int
    soak: bool = False

    def again(self, seed: int, topology: Topology) -> str:
        """The command that begins with this very plan."""
        if self.soak:
            return f"make soak SEED={seed} ROUND={self.round}"
        return f"make chaos SEED={seed} TOPOLOGY={topology.name.lower()} ROUND={self.round}"


@dataclass(slots=True)
class Total:
    """All rounds of a run."""

    rounds: list[tuple[Topology, Round]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> int:
        """Of all rounds, and of the whole."""
        return sum(len(each.verdict.complaints) for _, each in self.rounds) + len(self.wrong)

    def of(self, topology: Topology) -> list[Round]:
        """Its rounds."""
        return [each for its, each in self.rounds if its is topology]


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


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


async def run(topologies: list[Topology], seed: int, extent: Extent) -> Total:
    """Each topology has its share of the seconds and of the jobs, and one round at least.

    One that cannot be played on is given up, with a complaint, and what came before it counts.
    """
    total = Total()
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
    return total


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
        _print_round(one, extent.again(one.seed, topology))
        if one.broken:
            say(f"{topology}: given up")
            return
        asked += extent.round
        seed += 1


def _print_round(one: Round, again: str) -> None:
    verdict = one.verdict
    say(
        f"  {one.seconds:.0f} s: {verdict.accepted} accepted, {verdict.orphans} orphans of "
        f"{verdict.unanswered} unanswered creates, {verdict.refused.total()} refusals, "
        f"{verdict.resumed} resumes, {verdict.events} events, {verdict.attempts} attempts, "
        f"{verdict.calls} calls"
    )
    say(f"  {_told(verdict.states)}; answers: {_told(verdict.tiers)}")
    say(
        f"  accepted cancels: {_told(verdict.cancels) or 'none'}; "
        f"{verdict.stopped} calls stopped in mid-answer"
    )
    say(f"  ended otherwise: {_told(verdict.reasons)}; refused: {_told(verdict.refused)}")
    for complaint in verdict.complaints:
        say(f"  COMPLAINT ({again}) {complaint}")


def _print_total(total: Total, seconds: float) -> None:
    blows: Counter[str] = Counter()
    surfaces: Counter[str] = Counter()
    for _, one in total.rounds:
        blows += one.blows
        surfaces += Counter({str(name): number for name, number in one.surfaces.items()})
    say(f"\n{describe()}\n")
    say(f"{len(total.rounds)} rounds in {seconds:.0f} s; jobs: {_told(surfaces)}")
    for name, number in sorted(blows.items()):
        say(f"  {number:4}  {name}")
    _print_leaders(total)
    for topology in Topology:
        if of := [each.verdict for each in total.of(topology)]:
            say(
                f"{topology}: {sum(each.accepted for each in of)} accepted, "
                f"{sum(each.resumed for each in of)} resumes, "
                f"{sum(each.events for each in of)} events, "
                f"{sum(len(each.complaints) for each in of)} complaints"
            )
    _print_held(total)
    for complaint in total.wrong:
        say(f"COMPLAINT {complaint}")
    say(f"complaints: {total.complaints}")


def _print_leaders(total: Total) -> None:
    """A nats-server that stands alone leads nobody."""
    blows = Counter[str]()
    for one in total.of(Topology.THREE):
        blows += Counter({name: each for name, each in one.blows.items() if "nats-" in name})
    led = sum(each for name, each in blows.items() if "leader" in name)
    if blows:
        say(f"{led} of {blows.total()} blows at nats-servers on R3 struck the leader of a stream")


def _print_held(total: Total) -> None:
    """Of each topology's last round, beside its first: what a process holds at rest."""
    for topology in Topology:
        of = [each.footprints for each in total.of(topology)]
        if not of:
            continue
        say(f"at rest after the first and the last of {len(of)} rounds on {topology}:")
        for name in of[0]:
            first, last = of[0][name], of[-1].get(name, of[0][name])
            its = [each[name].mebibytes for each in of if name in each]
            lived = first.pid == last.pid and len(its) >= 5
            grown = f"{growth(its):+.1%}, " if lived else ""
            say(
                f"  {name:12} {first.mebibytes:5.0f} to {last.mebibytes:5.0f} MiB, {grown}"
                f"{first.descriptors} to {last.descriptors} descriptors, "
                f"{first.threads} to {last.threads} threads"
                f"{'' if first.pid == last.pid else ', another process since'}"
            )


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--round", type=int, default=250)
    parser.add_argument("--topology", choices=[each.name.lower() for each in Topology])
    parser.add_argument("--soak", action="store_true")
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    topologies = [Topology[chosen.topology.upper()]] if chosen.topology else list(Topology)
    say(f"SEED={seed}")
    began = time.monotonic()
    extent = Extent(chosen.seconds, chosen.jobs, chosen.round, chosen.soak)
    total = uvloop.run(run(topologies, seed, extent))
    _print_total(total, time.monotonic() - began)
    return 1 if total.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
