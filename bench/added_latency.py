"""What Tidegate adds to a direct streaming call, and what a token costs each of its processes.

    python -m bench.added_latency                             # all of it, about 9 minutes
    python -m bench.added_latency --jobs 1000 --rate 10       # one of them
    python -m bench.added_latency --cache --servers 3
    python -m bench.added_latency --ramp                      # the most tokens/s that it carries

Everything runs on this machine: NATS, one of each service, a simulator, and the client in a process
of its own that hardly parses what it gets. In each round both sides take their turn: the same load
asked of the simulator itself, and as jobs (POST /v1/jobs, each with a connection that is open
already, as are those of the direct side; events over WebSockets of 100 jobs each). What is added is
the difference within a round, and who is first alternates. Rounds in which other work kept more
than 0.3 cores busy are left out where one had less.

By default: 100 x 20, 1,000 x 10, and 100 x 20 with the cache on, on one nats-server and on three,
then the ramp. `--rounds` rounds of each after one to warm up, but one round where three servers
carry more than the plain 100 x 20, or the run would take too long; each table says its own. Between
three servers and one stands what durability costs.

Answers start on a schedule, evenly over `--over` seconds (default: 1, or jobs / 200 if that is
more: 200 starts a second), and last for `--seconds` (default: 5 more than that, so that for 5
seconds all of them stream at once). Every time is counted from the scheduled moment; the
simulator's own 200 ms are taken off. A token's lateness is its arrival against the steadiest
timetable (base plus n / rate) that fits its stream, so what delays all tokens of a stream alike
shows in the first token only. A run fails unless every answer's text is the simulator's, every
token an event of its own, once and in order.

`--cache`: the cache is on, and every question is a new one. An answer that the cache gave fails the
run. On a busy machine it may say nothing within its 50 ms, and after five such the worker leaves it
alone for a second: those answers count as all others do, and their share is printed. A row of its
own has the answers for which the cache said that it has none. `--servers 3`: three nats-servers,
three copies of every stream. The stock `openai` client streams the same load once a run, for 3
seconds, from a process of its own; its CPU stands beside the worker's.

`--ramp`: jobs of 20 tokens/s, 100 (`--jobs`) and then 100 (`--step`) more each time up to 2,000,
until the p99 of lateness is over 25 ms, or the last tokens are over a second late at p99, at the
same step twice. The highest step that held is tried three times in all. Tokens/s are counted while
all streams are due to run.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from bench._child import Child
from bench._latency_ramp import climb, ramp_case, show_ramp
from bench._latency_rounds import LOAD, Case, Round, Sides, stock, take_rounds
from bench._latency_tables import show, show_durability
from bench._latency_world import world
from bench._machine import describe
from bench._options import amount, count

ALL = (
    Case(100, 20.0),
    Case(1_000, 10.0),
    Case(100, 20.0, cache=True),
    Case(100, 20.0, servers=3),
    Case(1_000, 10.0, servers=3),
    Case(100, 20.0, cache=True, servers=3),
)


class Run:
    """All cases that are asked for. A case that fails is told, and the others go on."""

    def __init__(self) -> None:
        self.failed = 0
        self._made: dict[tuple[int, float, bool, int], list[Round]] = {}
        self._stock: dict[tuple[int, float], float] = {}

    async def measure(self, case: Case) -> None:
        """One table, and where the same was measured on one server, what three cost."""
        print(f"\n{case.title}", flush=True)
        try:
            rounds = await self._rounds(case)
        except RuntimeError as error:
            self._tell_failed(error)
            return
        self._made[case.jobs, case.rate, case.cache, case.servers] = rounds
        one = self._made.get((case.jobs, case.rate, case.cache, 1))
        if case.servers > 1 and one:
            show_durability(one, rounds, "durability, one server -> three with three copies")

    async def _rounds(self, case: Case) -> list[Round]:
        same = (case.jobs, case.rate)
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with world(Path(folder), case.setup) as at, Child(LOAD) as load:
                sides = Sides(at, load, case)
                rounds = await take_rounds(sides)
                if same not in self._stock:
                    self._stock[same] = await stock(sides)
        show(case, rounds, sides.seen, self._stock[same])
        return rounds

    async def ramp(self, case: Case, step: int) -> None:
        """The most that is carried."""
        print(f"\nthe ramp, from {case.jobs} jobs x {case.rate:g} tokens/s", flush=True)
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with world(Path(folder), ramp_case(case).setup) as at, Child(LOAD) as load:
                made = await climb(Sides(at, load, case), step)
        show_ramp(case, made)

    def _tell_failed(self, error: RuntimeError) -> None:
        self.failed += 1
        print(f"FAILED: {error}", flush=True)


async def run(chosen: argparse.Namespace) -> int:
    """Everything that was chosen; how much of it failed."""
    begun, this = time.monotonic(), Run()
    whole = not (chosen.ramp or _narrowed(chosen))
    cases = ALL if whole else () if chosen.ramp else (_case(chosen),)
    for case in cases:
        heavy = whole and case.servers > 1 and (case.cache or case.jobs > ALL[0].jobs)
        await this.measure(replace(case, rounds=1 if heavy else chosen.rounds))
    if whole or chosen.ramp:
        await this.ramp(_case(chosen), chosen.step)
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    return this.failed


def _narrowed(chosen: argparse.Namespace) -> bool:
    given = (chosen.jobs, chosen.rate, chosen.servers, chosen.over, chosen.seconds)
    return chosen.cache or any(each is not None for each in given)


def _case(chosen: argparse.Namespace) -> Case:
    return Case(
        jobs=chosen.jobs or 100,
        rate=chosen.rate or 20.0,
        cache=chosen.cache,
        servers=chosen.servers or 1,
        over=chosen.over,
        seconds=chosen.seconds,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=count, help="answers at once, 100")
    parser.add_argument("--rate", type=amount, help="tokens per second of each, 20")
    parser.add_argument("--over", type=amount, help="seconds over which they start")
    parser.add_argument("--seconds", type=amount, help="that each answer lasts")
    parser.add_argument("--servers", type=int, choices=(1, 3), help="of NATS, 1")
    parser.add_argument("--cache", action="store_true", help="on, and always asked in vain")
    parser.add_argument("--rounds", type=count, default=3, help="after one to warm up")
    parser.add_argument("--ramp", action="store_true", help="the highest rate instead")
    parser.add_argument("--step", type=count, default=100, help="jobs more in each step")
    return parser.parse_args()


def main() -> int:
    chosen = parse()
    print(describe(), flush=True)
    return 1 if uvloop.run(run(chosen)) else 0


if __name__ == "__main__":
    sys.exit(main())
