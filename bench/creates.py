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
else kept them busy: rounds with more than 0.3 cores of it are left out where one had less. CPU per
create and a core divided by it say what a gateway with a core to itself can take.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench._child import Answer, Child, Costs, calm, quantile, spread, table, until_quiet
from bench._creates_start import Starts, turn
from bench._creates_world import World, world
from bench._machine import describe

SURFACES = ("grpc", "http")
GOALS = {"grpc": 4_000, "http": 8_000}
GOAL_HALF_P99_MS = 10.0
GOAL_START_P99_MS = 5.0
PARTS = ("saturation", "half", "starts")
_WORLD = ("gateway", "nats", "load")


@dataclass(frozen=True, slots=True)
class Options:
    """`half_rates` are those of the surfaces, where they are not to be found out first."""

    rounds: int
    seconds: float
    half_seconds: float
    start_seconds: float
    callers: tuple[int, ...]
    start_rates: tuple[float, ...]
    prompt_bytes: int
    only: tuple[str, ...]
    half_rates: dict[str, float]
    quiet: float


@dataclass(slots=True)
class Turn:
    """What the load says of one turn, and what it cost: µs per create, cores."""

    answer: Answer
    cpu: dict[str, float]
    cores: dict[str, float]

    @property
    def others(self) -> float:
        return self.cores["others"]

    def figure(self, name: str) -> float:
        return float(self.answer[name])


Turns = defaultdict[tuple[str, int], list[Turn]]


class Bench:
    """The turns of a run. Problems are told as they come: each of them is a finding."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def saturation(self, at: World, load: Child) -> Turns:
        turns: Turns = defaultdict(list)
        for number in range(1, self._options.rounds + 1):
            for callers in self._options.callers:
                for surface in SURFACES:
                    made = await self._turn(
                        at,
                        load,
                        "saturate",
                        surface=surface,
                        at_once=callers,
                        seconds=self._options.seconds,
                    )
                    turns[surface, callers].append(made)
                    self._tell(number, f"{surface}, {callers} callers", made)
        return turns

    async def half(self, at: World, load: Child, rates: dict[str, float]) -> Turns:
        turns: Turns = defaultdict(list)
        for number in range(1, self._options.rounds + 1):
            for surface in SURFACES:
                rate = rates[surface]
                made = await self._turn(
                    at,
                    load,
                    "pace",
                    surface=surface,
                    rate=rate,
                    seconds=self._options.half_seconds,
                )
                turns[surface, round(rate)].append(made)
                self._tell(number, f"{surface}, {rate:,.0f}/s due", made)
        return turns

    async def starts(self, at: World, load: Child) -> dict[float, list[Starts]]:
        options = self._options
        turns: dict[float, list[Starts]] = defaultdict(list)
        await turn(at, load, min(options.start_rates), 1.0, options.prompt_bytes)
        for number in range(1, options.rounds + 1):
            for rate in options.start_rates:
                await until_quiet(options.quiet)
                made = await turn(at, load, rate, options.start_seconds, options.prompt_bytes)
                turns[rate].append(made)
                problems = f", problems {made.load['problems']}" if made.load["problems"] else ""
                print(
                    f"round {number}: {rate:,.0f} jobs/s, p50 {made.p(0.5):.1f} ms, "
                    f"{sum(made.ends.values())} ended {made.ends}, {made.lost} lost, "
                    f"others {made.others:.2f} cores{problems}",
                    flush=True,
                )
        return turns

    async def _turn(self, at: World, load: Child, what: str, **how: object) -> Turn:
        port = at.ports[str(how["surface"])]
        await until_quiet(self._options.quiet)
        costs = Costs(at.pids | {"load": load.pid})
        answer = await load.ask(what, port=port, prompt_bytes=self._options.prompt_bytes, **how)
        cores = costs.cores()
        made = Turn(answer, costs.each(answer["created"]), cores)
        if (stored := await at.waiting()) != answer["created"]:
            answer["problems"]["stored"] = stored
        await at.purge()
        return made

    def _tell(self, number: int, what: str, made: Turn) -> None:
        problems = f", PROBLEMS {made.answer['problems']}" if made.answer["problems"] else ""
        print(
            f"round {number}: {what}: {made.figure('created'):,.0f} created, "
            f"{made.figure('rate'):,.0f}/s, gateway {made.cpu['gateway']:.0f} us, "
            f"others {made.others:.2f} cores{problems}",
            flush=True,
        )


def of(turns: list[Turn], name: str) -> list[float]:
    return [made.figure(name) for made in turns]


def cpu_of(turns: Iterable[Turn | Starts], name: str) -> list[float]:
    return [made.cpu[name] for made in turns]


def count_of(turns: Sequence[Turn | Starts]) -> str:
    return f"{len(calm(turns))} of {len(turns)}"


def best(turns: Turns, surface: str) -> float:
    """The highest of the median rates."""
    rates = {key: statistics.median(of(calm(made), "rate")) for key, made in turns.items()}
    return max(rate for (name, _), rate in rates.items() if name == surface)


def show_saturation(turns: Turns) -> None:
    table(
        "Creates at saturation: median (least-most) of rounds",
        ("", "callers", "rounds", "jobs/s", "p50 ms", "gateway us", "nats us", "load us"),
        (
            (
                surface,
                str(callers),
                count_of(made),
                spread(of(calm(made), "rate"), 0),
                spread(of(calm(made), "p50_ms")),
                *(spread(cpu_of(calm(made), name), 0) for name in _WORLD),
            )
            for (surface, callers), made in sorted(turns.items())
        ),
    )
    for surface in SURFACES:
        rate, goal = best(turns, surface), GOALS[surface]
        all_turns = [made for (name, _), some in turns.items() if name == surface for made in some]
        least = min(cpu_of(all_turns, "gateway"))
        print(
            f"  {surface}: {rate:,.0f}/s, goal {goal:,}/s {met(rate >= goal)}; the least CPU seen, "
            f"{least:.0f} us, makes {1e6 / least:,.0f}/s of a core"
        )


def show_half(turns: Turns) -> None:
    table(
        "Creates on a schedule at half of that, from when they were due",
        ("", "due/s", "rounds", "p50 ms", "p95 ms", "p99 ms", "load late p99 ms", "gateway us"),
        (
            (
                surface,
                f"{rate:,}",
                count_of(made),
                *(spread(of(calm(made), f"{q}_ms")) for q in ("p50", "p95", "p99", "late_p99")),
                spread(cpu_of(calm(made), "gateway"), 0),
            )
            for (surface, rate), made in sorted(turns.items())
        ),
    )
    for (surface, _), made in sorted(turns.items()):
        p99 = statistics.median(of(calm(made), "p99_ms"))
        goal = GOAL_HALF_P99_MS
        print(f"  {surface}: p99 {p99:.1f} ms, goal {goal:g} ms {met(p99 <= goal)}")


def show_starts(turns: dict[float, list[Starts]]) -> None:
    table(
        "Acknowledged to attempt started, one worker",
        ("jobs/s", "rounds", "kept up", "p50 ms", "p95 ms", "p99 ms", "queued_ms p99", "lost"),
        (
            (
                f"{rate:,.0f}",
                count_of(some),
                f"{sum(made.kept_up for made in calm(some))} of {len(calm(some))}",
                *(spread([made.p(q) for made in calm(some)]) for q in (0.5, 0.95, 0.99)),
                spread([quantile(made.queued, 0.99) for made in calm(some)], 0),
                str(sum(made.lost for made in some)),
            )
            for rate, some in turns.items()
        ),
    )
    names = ("gateway", "worker", "nats", "simulator", "load")
    table(
        "CPU us for each job from create to end",
        ("jobs/s", *names),
        (
            (f"{rate:,.0f}", *(spread(cpu_of(calm(some), name), 0) for name in names))
            for rate, some in turns.items()
        ),
    )
    held = [rate for rate, some in turns.items() if all(made.kept_up for made in calm(some))]
    p99 = {rate: statistics.median(made.p(0.99) for made in calm(turns[rate])) for rate in held}
    goal = GOAL_START_P99_MS
    if held:
        highest = max(held)
        verdict = f"p99 {p99[highest]:.1f} ms, goal {goal:g} ms {met(p99[highest] <= goal)}"
        print(f"  the highest rate that held, {highest:,.0f} jobs/s: {verdict}")
    within = max((rate for rate in held if p99[rate] <= goal), default=0)
    print(f"  the highest rate within the goal: {within:,.0f} jobs/s")


def met(yes: bool) -> str:
    return "met" if yes else "NOT met"


async def measure(options: Options) -> None:
    bench, begun = Bench(options), time.monotonic()
    half_rates = dict(options.half_rates)
    async with Child("bench._creates_load") as load:
        if {"saturation", "half"} & set(options.only):
            with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
                async with world(Path(folder)) as at:
                    await _creates(bench, at, load, options.only, half_rates)
        if "starts" in options.only:
            with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
                async with world(Path(folder), worker=True) as at:
                    show_starts(await bench.starts(at, load))
    print(f"\n{options.rounds} rounds, {time.monotonic() - begun:.0f} s in all")


async def _creates(
    bench: Bench, at: World, load: Child, only: tuple[str, ...], half_rates: dict[str, float]
) -> None:
    for surface in SURFACES:
        # The first creates of a process pay for what it makes once.
        await bench._turn(at, load, "saturate", surface=surface, at_once=16, seconds=1.0)
    if "saturation" in only:
        turns = await bench.saturation(at, load)
        show_saturation(turns)
        half_rates |= {surface: best(turns, surface) / 2 for surface in SURFACES}
    if "half" in only:
        show_half(await bench.half(at, load, half_rates))


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn at saturation")
    parser.add_argument("--half-seconds", type=float, default=8.0)
    parser.add_argument("--start-seconds", type=float, default=4.0)
    parser.add_argument("--callers", default="16,32,64,128,256")
    parser.add_argument("--start-rates", default="1000,400,200,100,50", help="jobs/s")
    parser.add_argument("--prompt-bytes", type=int, default=200)
    parser.add_argument("--only", default=",".join(PARTS), help="some of these")
    parser.add_argument("--quiet", type=float, default=0.0, help="s to wait for it before a turn")
    parser.add_argument("--half-rates", default="800,1500", help="without saturation: gRPC, HTTP")
    chosen = parser.parse_args()
    return Options(
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        half_seconds=chosen.half_seconds,
        start_seconds=chosen.start_seconds,
        callers=tuple(map(int, chosen.callers.split(","))),
        start_rates=tuple(map(float, chosen.start_rates.split(","))),
        prompt_bytes=chosen.prompt_bytes,
        only=tuple(chosen.only.split(",")),
        quiet=chosen.quiet,
        half_rates=dict(zip(SURFACES, map(float, chosen.half_rates.split(",")), strict=True)),
    )


def main() -> None:
    options = parse()
    print(describe(), flush=True)
    uvloop.run(measure(options))


if __name__ == "__main__":
    main()
