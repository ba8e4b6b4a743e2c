"""Rounds of bench/added_latency.py: direct and Tidegate in turns, each with the same load."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from bench._child import Answer, Child, Costs
from bench._latency_calls import Load
from bench._latency_world import Setup, World

TTFT: Final = 0.2
LOAD: Final = "bench._latency_load"
STOCK: Final = "bench._latency_stock"
_PATIENCE: Final = 30.0
_HITS: Final = {"exact", "semantic", "coalesced"}
# So many starts a second that creates are not what is measured.
_STARTS_A_SECOND: Final = 200
# All streams run at once for so long, unless the length of an answer is given.
_ALL_AT_ONCE_SECONDS: Final = 5.0
_WARM_SECONDS: Final = 2.0
_STOCK_SECONDS: Final = 3.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Case:
    """A load and what it runs on. None: as the bench's docstring says."""

    jobs: int
    rate: float
    cache: bool = False
    servers: int = 1
    over: float | None = None
    seconds: float | None = None
    rounds: int = 3

    @property
    def starts_within(self) -> float:
        return max(1.0, self.jobs / _STARTS_A_SECOND) if self.over is None else self.over

    @property
    def tokens(self) -> int:
        lasts = self.seconds or self.starts_within + _ALL_AT_ONCE_SECONDS
        return max(int(self.rate * lasts), 1)

    @property
    def setup(self) -> Setup:
        return Setup(self.jobs, self.rate, TTFT, self.servers, self.cache)

    @property
    def title(self) -> str:
        servers = "one nats-server" if self.servers == 1 else f"{self.servers} nats-servers, R3"
        return (
            f"{self.jobs:,} jobs x {self.rate:g} tokens/s, {self.tokens} tokens each, starts over "
            f"{self.starts_within:g} s, cache {'on' if self.cache else 'off'}, {servers}"
        )

    def load(self) -> Load:
        """A load with questions that nobody has asked before."""
        name = f"{next(_numbers)}-"
        return Load(self.jobs, self.rate, self.tokens, self.starts_within, TTFT, name)

    def warm(self) -> "Case":
        """The same with short answers."""
        return replace(self, seconds=min(_WARM_SECONDS, self.tokens / self.rate))


@dataclass(frozen=True, slots=True)
class Turn:
    """What a side did with a load: milliseconds by p50, p95, p99; µs of CPU a token; busy cores."""

    answer: Answer
    cpu: dict[str, float]
    cores: dict[str, float]

    def ms(self, name: str) -> list[float]:
        return [float(value) for value in self.answer[name]]

    @property
    def others(self) -> float:
        return self.cores["others"]

    def cpu_of(self, name: str) -> float:
        """Of all processes of a name, whatever number stands after it."""
        return sum(spent for each, spent in self.cpu.items() if each.split()[0] == name)


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each side."""

    direct: Turn
    tidegate: Turn

    @property
    def others(self) -> float:
        return max(self.direct.others, self.tidegate.others)

    def added(self, name: str) -> list[float]:
        pairs = zip(self.tidegate.ms(name), self.direct.ms(name), strict=True)
        return [through - plain for through, plain in pairs]


@dataclass(slots=True)
class Sides:
    """Both sides on one world. Raises RuntimeError on an answer that is not right."""

    world: World
    load: Child
    case: Case
    seen: dict[str, int] = field(default_factory=dict)

    async def direct(self) -> Turn:
        ports = {"simulator": self.world.ports["simulator"]}
        return whole(await self.turn(self.case.load(), ports))

    async def tidegate(self) -> Turn:
        turn = whole(await self.turn(self.case.load(), self.world.ports))
        for tier, number in turn.answer["tiers"].items():
            self.seen[tier] = self.seen.get(tier, 0) + number
        require_no_hits(turn)
        return turn

    async def turn(self, load: Load, ports: dict[str, int]) -> Turn:
        await self.load.ask("prepare", load=asdict(load), ports=ports)
        costs = Costs(self.world.pids | {"client": self.load.pid})
        made = await self.load.ask("run", patience=_PATIENCE)
        cpu, cores = costs.each(made["tokens"]), costs.cores()
        return Turn(await self.load.ask("judge"), cpu, cores)


def whole(turn: Turn) -> Turn:
    """The turn, in which not one token was lost, doubled or out of order."""
    if turn.answer["faults"]:
        raise RuntimeError(f"{turn.answer['faults']} answers, such as {turn.answer['told']}")
    return turn


def require_no_hits(turn: Turn) -> None:
    """Every answer has to be the model's."""
    tiers = turn.answer["tiers"]
    if hits := {tier: number for tier, number in tiers.items() if tier in _HITS}:
        raise RuntimeError(f"not the miss path: {hits} of the answers came from the cache")


async def take_rounds(sides: Sides) -> list[Round]:
    """The rounds after one to warm up, each side's turn in each.

    Raises:
        RuntimeError: the cache is on, and did not answer once.
    """
    warm = replace(sides, case=sides.case.warm(), seen={})
    await warm.direct()
    _tell("warming up", await warm.tidegate())
    made: list[Round] = []
    for number in range(1, sides.case.rounds + 1):
        made.append(await _round(sides, direct_first=number % 2 == 1))
        _tell(f"round {number}", made[-1].tidegate)
    if sides.case.cache and not sides.seen.get("miss"):
        raise RuntimeError(f"the cache never answered: {sides.seen}")
    return made


async def _round(sides: Sides, *, direct_first: bool) -> Round:
    if direct_first:
        direct = await sides.direct()
        return Round(direct, await sides.tidegate())
    tidegate = await sides.tidegate()
    return Round(await sides.direct(), tidegate)


async def stock(sides: Sides) -> float:
    """The openai client's CPU for a token of the same load, in µs.

    Raises:
        RuntimeError: not all of its answers were whole.
    """
    case = sides.case
    async with Child(STOCK) as child:
        answer = await child.ask(
            "stream",
            port=sides.world.ports["simulator"],
            jobs=case.jobs,
            rate=case.rate,
            seconds=_STOCK_SECONDS,
        )
    if answer["whole"] != case.jobs:
        raise RuntimeError(f"{answer['whole']} of {case.jobs} answers of the openai client")
    return float(answer["cpu_us"])


def _tell(which: str, turn: Turn) -> None:
    cores = ", ".join(f"{name} {busy:.2f}" for name, busy in turn.cores.items() if busy >= 0.01)
    print(
        f"{which}: {turn.answer['tokens']:,} tokens, all there and in "
        f"order; client late by {turn.ms('sent')[2]:.1f} ms at p99; cores: {cores}",
        flush=True,
    )


def medians(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """The rounds' values of each quantile."""
    return [list(column) for column in zip(*rows, strict=True)]
