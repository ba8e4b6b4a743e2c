"""What one gateway process takes in: creates per second, their latency, and how soon jobs start.

    python -m bench.creates [--rounds 3] [--seconds 3] [--only saturation,half,starts]

Saturation: so many callers, each of which creates its next job once the last one is acknowledged
durably (file store, one copy). Half: a schedule at half the highest rate; times count from when a
create was due. Both over gRPC and HTTP, with no worker, the queue purged in between. Starts: with
one worker and a simulator that answers at once with one token, creates over HTTP on a schedule; how
long after its acknowledgement a job's attempt begins, at the highest rate that holds.

Everything takes turns within each round, and figures are medians and ranges over the rounds. The
load comes from one process of its own, whose CPU is told. All of it shares this machine's cores, so
on two of them the load, nats-server and the kernel take what the gateway does not. `others` is what
else kept them busy: rounds with more than 0.3 cores of it are left out where one had less. A core
divided by the gateway's CPU per create (median of rounds) says what a gateway with a core to itself
could take: a figure by CPU, not a rate that was held.

Whatever is no job, or is lost, or not stored once, or does not complete, makes the run fail.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench._child import Child
from bench._creates_tables import Half, best, show_half, show_saturation, show_starts
from bench._creates_turns import SURFACES, Bench, Options
from bench._creates_world import World, world
from bench._machine import describe
from bench._options import amount, amounts, count, counts, some_of

PARTS = ("saturation", "half", "starts")


async def measure(options: Options) -> int:
    """Everything that was chosen; how many problems there were."""
    bench, begun = Bench(options), time.monotonic()
    async with Child("bench._creates_load") as load:
        if {"saturation", "half"} & set(options.only):
            with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
                async with world(Path(folder)) as at:
                    await _creates(bench, at, load, options)
        if "starts" in options.only:
            with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
                async with world(Path(folder), worker=True) as at:
                    show_starts(await bench.starts(at, load))
    print(f"\n{options.rounds} rounds, {time.monotonic() - begun:.0f} s in all")
    return bench.problems


async def _creates(bench: Bench, at: World, load: Child, options: Options) -> None:
    halves = {
        name: Half(rate, "a rate that was given") for name, rate in options.half_rates.items()
    }
    await bench.warm_up(at, load)
    if "saturation" in options.only:
        turns = await bench.saturation(at, load)
        show_saturation(turns)
        halves = {surface: best(turns, surface).half for surface in SURFACES}
    if "half" in options.only:
        rates = {surface: half.rate for surface, half in halves.items()}
        show_half(await bench.half(at, load, rates), halves)


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--seconds", type=amount, default=3.0, help="of a turn at saturation")
    parser.add_argument("--half-seconds", type=amount, default=8.0)
    parser.add_argument("--start-seconds", type=amount, default=4.0)
    parser.add_argument("--callers", type=counts, default="16,32,64,128,256")
    parser.add_argument("--start-rates", type=amounts, default="1000,400,200,100,50", help="jobs/s")
    parser.add_argument("--prompt-bytes", type=count, default=200)
    parser.add_argument(
        "--only", type=some_of(PARTS), default=",".join(PARTS), help="some of these"
    )
    parser.add_argument("--quiet", type=float, default=0.0, help="s to wait for it before a turn")
    parser.add_argument(
        "--half-rates", type=amounts, default="800,1500", help="without saturation: gRPC, HTTP"
    )
    chosen = parser.parse_args()
    return Options(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        half_seconds=chosen.half_seconds,
        start_seconds=chosen.start_seconds,
        callers=chosen.callers,
        start_rates=chosen.start_rates,
        prompt_bytes=chosen.prompt_bytes,
        only=chosen.only,
        quiet=chosen.quiet,
        half_rates=dict(zip(SURFACES, chosen.half_rates, strict=True)),
    )


def main() -> int:
    options = parse()
    print(describe(), flush=True)
    problems = uvloop.run(measure(options))
    if problems:
        print(f"FAILED: {problems} problems, told above")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
