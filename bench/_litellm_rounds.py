"""The figures of bench.litellm: every load through every side, in turns, round after round."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bench._child import Answer, Child, Costs, quantile, resident_bytes, until_quiet
from bench._litellm_sides import Side, World

STREAM_TOKENS: Final = 60
WHOLE_TOKENS: Final = 16
# How the simulator behaves: seconds to the first token, tokens a second.
_AT_ONCE: Final = {"ttft": 0.0, "tokens_per_s": 1_000_000.0}
_SHORTLY: Final = {"ttft": 0.1, "tokens_per_s": 200.0}
_STREAMED: Final = {"ttft": 0.1, "tokens_per_s": 60.0}


@dataclass(frozen=True, slots=True)
class Options:
    """Rates in requests a second, times in seconds."""

    rounds: int
    at_once: int
    closed_seconds: float
    rate: float
    paced_seconds: float
    stream_rate: float
    stream_seconds: float
    quiet: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One load through one side. `cpu`: microseconds per right, whole answer, by process."""

    answer: Answer
    cpu: dict[str, float]
    others: float

    @property
    def rate(self) -> float:
        """Right, whole answers a second."""
        return float(self.answer["rate"])

    @property
    def failed(self) -> int:
        return int(self.answer["asked"] - self.answer["right"])

    def ms(self, series: str) -> list[float]:
        """`first` or `whole`, of each answer since it was due."""
        return [float(each) for each in self.answer[series]]


@dataclass(frozen=True, slots=True)
class Round:
    """The turns of one round, by side."""

    turns: dict[str, Turn]

    @property
    def others(self) -> float:
        """Cores that other work took, in the turn where it was most."""
        return max(turn.others for turn in self.turns.values())


@dataclass(slots=True)
class Load:
    """One kind of load, the sides that take it, and its rounds."""

    title: str
    sides: tuple[Side, ...]
    command: str
    pace: dict[str, float]
    how: dict[str, Any]
    rounds: list[Round] = field(default_factory=list)


@dataclass(slots=True)
class Figures:
    """All loads, and resident MiB by process: before them, and after."""

    whole: Load
    paced: Load
    streams: Load
    idle: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    @property
    def loads(self) -> tuple[Load, ...]:
        return self.whole, self.paced, self.streams

    def problems(self, side: str) -> int:
        """A side's answers that were missing, wrong or incomplete."""
        return sum(made.turns[side].failed for load in self.loads for made in load.rounds)


def _figures(world: World, options: Options) -> Figures:
    whole = {"seconds": options.closed_seconds, "tokens": WHOLE_TOKENS, "at_once": options.at_once}
    paced = {"seconds": options.paced_seconds, "tokens": WHOLE_TOKENS, "stream": False}
    streams = {"seconds": options.stream_seconds, "tokens": STREAM_TOKENS, "stream": True}
    paced |= {"rate": options.rate}
    streams |= {"rate": options.stream_rate}
    sides, callers = world.sides, f"{options.at_once} callers"
    return Figures(
        Load(f"whole answers, {callers}", (*sides, world.crowd), "closed", _AT_ONCE, whole),
        Load(f"whole answers, paced, {options.rate:g}/s", sides, "paced", _SHORTLY, paced),
        Load(f"streams, paced, {options.stream_rate:g}/s", sides, "paced", _STREAMED, streams),
    )


async def measure(world: World, options: Options) -> Figures:
    """Warms all sides up, then takes the rounds."""
    figures = _figures(world, options)
    async with Child("bench._litellm_load") as child:
        salt = 0
        for load in figures.loads:
            await world.provider.behave(**load.pace)
            for side in load.sides:
                # The first requests of a process pay for what it makes once.
                await _ask(child, load, side, salt, seconds=1.0)
        figures.idle = _resident(world)
        for number in range(1, options.rounds + 1):
            for load in figures.loads:
                salt += 1
                await world.provider.behave(**load.pace)
                load.rounds.append(await _round(world, child, load, salt, options.quiet))
                _tell(number, load)
        figures.after = _resident(world)
    return figures


async def _round(world: World, child: Child, load: Load, salt: int, quiet: float) -> Round:
    turns = {}
    for side in _in_turn(load.sides, salt):
        await until_quiet(quiet)
        costs = Costs(world.pids() | {"load": child.pid})
        answer = await _ask(child, load, side, salt)
        others = costs.cores()["others"]
        turns[side.name] = Turn(answer, costs.each(answer["right"]), others)
    return Round(turns)


def _in_turn(sides: tuple[Side, ...], number: int) -> tuple[Side, ...]:
    """Another one is first each time."""
    first = number % len(sides)
    return sides[first:] + sides[:first]


async def _ask(child: Child, load: Load, side: Side, salt: int, **changes: Any) -> Answer:
    how = load.how | changes
    return await child.ask(load.command, port=side.port, key=side.key, salt=salt, **how)


def _resident(world: World) -> dict[str, float]:
    return {name: resident_bytes(pid) / 2**20 for name, pid in world.pids().items()}


def _tell(number: int, load: Load) -> None:
    for side, turn in load.rounds[-1].turns.items():
        answer = turn.answer
        problems = f", PROBLEMS {answer['problems']}" if answer["problems"] else ""
        print(
            f"round {number}: {load.title}: {side}: {answer['right']} right, {turn.failed} failed, "
            f"{turn.rate:,.0f}/s, whole p50 {quantile(turn.ms('whole'), 0.5):.1f} ms, load late "
            f"{answer['late_p99']:.1f} ms at p99, others {turn.others:.2f} cores{problems}",
            flush=True,
        )


def cpu_of(side: Side, turn: Turn, process: Callable[[str], bool] = bool) -> float:
    """Microseconds per right answer of a side's processes, all of them or some."""
    return sum(spent for name, spent in turn.cpu.items() if name in side.pids() and process(name))
