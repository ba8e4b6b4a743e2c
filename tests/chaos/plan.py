"""What happens in a round, drawn from a seed: the same seed, the same plan. Pure."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Surface(StrEnum):
    """How a client asks and reads."""

    GRPC = "gRPC"
    JOBS = "/v1/jobs"
    OPENAI = "openai"
    WEBSOCKET = "WebSocket"
    SSE = "SSE"


class Blow(StrEnum):
    """What is done to a process or a wire."""

    KILL = "kill -9"
    FREEZE = "freeze"
    CUT = "cut"
    TRIM = "cut at a byte"
    REFUSE = "refuse"


class Wire(StrEnum):
    """Connections that go through a proxy of the harness."""

    GATEWAY = "clients to gateway"
    STREAMING = "clients to streaming"
    NATS = "services to NATS"
    PROVIDER = "workers to provider"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One client's job. Seconds; `at` from the beginning of the round, `cancel_after` the create.

    `request_id` empty: the client sends none. `ttl` None: the platform's default.
    """

    number: int
    surface: Surface
    at: float
    question: str
    tokens: int
    batch: bool
    request_id: str
    cancel_after: float | None
    ttl: float | None


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One blow. `target` is a process's name or a wire's; `seconds` how long it lasts.

    `size` is the byte at which connections break that begin meanwhile.
    """

    at: float
    blow: Blow
    target: str
    seconds: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A round: `seconds` of asking, with the blows in between."""

    seed: int
    seconds: float
    jobs: tuple[JobPlan, ...]
    faults: tuple[FaultPlan, ...]


REPEATED_SHARE: Final = 0.1
_WITHOUT_ID: Final = 0.3
_BATCH: Final = 0.15
_CANCELLED: Final = 0.06
_EXPIRING: Final = 0.04
_TOKENS: Final = (2, 80)
_CALM_SECONDS: Final = 1.0
_BETWEEN_BLOWS: Final = (0.5, 1.8)
_LASTS: Final = {
    Blow.KILL: (0.1, 1.5),
    Blow.FREEZE: (0.5, 5.0),
    Blow.CUT: (0.0, 0.0),
    Blow.TRIM: (0.5, 2.0),
    Blow.REFUSE: (0.3, 1.5),
}
# A provider out of reach opens the breaker for a whole round, and little else is seen then.
_WIRES: Final = (3, 3, 3, 1)
_TRIMMED_AT: Final = (1, 6_000)


def draw(
    seed: int,
    *,
    jobs: int,
    seconds: float,
    processes: tuple[str, ...],
    spared: Collection[str] = (),
) -> Plan:
    """A round by its seed; `processes` are the names of those that may be struck.

    Those that are `spared` are frozen where others would be killed.
    """
    pick = random.Random(seed)
    asked: list[JobPlan] = []
    for number in range(jobs):
        asked.append(_job(pick, seed, number, pick.uniform(0, seconds), asked))
    faults, at = [], _CALM_SECONDS
    while at < seconds:
        faults.append(_fault(pick, at, processes, spared))
        at += pick.uniform(*_BETWEEN_BLOWS)
    return Plan(seed, seconds, tuple(sorted(asked, key=lambda each: each.at)), tuple(faults))


def _job(pick: random.Random, seed: int, number: int, at: float, before: list[JobPlan]) -> JobPlan:
    surface = pick.choice(list(Surface))
    question = f"Round {seed}, question {number}: what does the tide carry?"
    tokens = pick.randint(*_TOKENS)
    if before and pick.random() < REPEATED_SHARE:
        asked = pick.choice(before)
        question, tokens = asked.question, asked.tokens
    # A call of the openai client is a create and a reader in one, which nobody cancels beside.
    may_cancel = surface is not Surface.OPENAI
    return JobPlan(
        number,
        surface,
        at,
        question,
        tokens,
        batch=pick.random() < _BATCH,
        request_id="" if pick.random() < _WITHOUT_ID else f"{seed}-{number}",
        cancel_after=pick.uniform(0, 1) if may_cancel and pick.random() < _CANCELLED else None,
        ttl=pick.uniform(1, 2) if may_cancel and pick.random() < _EXPIRING else None,
    )


def _fault(
    pick: random.Random, at: float, processes: tuple[str, ...], spared: Collection[str]
) -> FaultPlan:
    on_a_process = pick.random() < 0.6
    if on_a_process:
        blow, target = pick.choice([Blow.KILL, Blow.FREEZE]), pick.choice(processes)
        if target in spared:
            blow = Blow.FREEZE
    else:
        blow = pick.choice([Blow.CUT, Blow.TRIM, Blow.REFUSE])
        target = str(pick.choices(list(Wire), _WIRES)[0])
    size = pick.randint(*_TRIMMED_AT) if blow is Blow.TRIM else 0
    return FaultPlan(at, blow, target, pick.uniform(*_LASTS[blow]), size)
