"""The turns of bench/creates.py: each way of creating jobs, round after round."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from bench._child import Answer, Child, Costs, until_quiet
from bench._creates_start import Starts, turn
from bench._creates_world import World

SURFACES: Final = ("grpc", "http")


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
    """The turns of a run. Problems are told as they come, and `problems` counts them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.problems = 0

    async def warm_up(self, at: World, load: Child) -> None:
        """The first creates of a process pay for what it makes once."""
        for surface in SURFACES:
            await self._turn(at, load, "saturate", surface=surface, at_once=16, seconds=1.0)

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
                self.problems += len(made.problems)
                told = f", PROBLEMS {made.problems}" if made.problems else ""
                print(
                    f"round {number}: {rate:,.0f} jobs/s, p50 {made.p(0.5):.1f} ms, "
                    f"{sum(made.ends.values())} ended {made.ends}, {made.lost} lost, "
                    f"others {made.others:.2f} cores{told}",
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
        self.problems += len(answer["problems"])
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
