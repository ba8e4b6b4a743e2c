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


class Leader(StrEnum):
    """Whichever nats-server leads a stream when the blow falls; the stream is the member's name."""

    JOBS = "leader of JOBS"
    EVENTS = "leader of EVENTS"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One client's job. Seconds; `at` from the beginning of the round, `cancel_after` the create.

    `request_id` empty: the client sends none. `ttl` None: the platform's default. `tokens` 0: as
    long as the model likes.
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
    """One blow. `target` is a process's name, a leader or a wire; `seconds` how long it lasts.

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
# Only answers that end by themselves go into the cache.
_NATURAL: Final = 0.4
# About a minute. Of jobs alone that end early in any case: by their time to live, or since a client
# with a request id asks for it until it is heard.
LONG_TOKENS: Final = 3_600
_LONG: Final = 0.7
_CANCELLED_AFTER: Final = (0.0, 1.0)
_LONG_CANCELLED_AFTER: Final = (0.5, 3.0)
_TTL: Final = (1.0, 2.0)
_LONG_TTL: Final = (1.5, 4.0)
_CALM_SECONDS: Final = 1.0
_BETWEEN_BLOWS: Final = (0.5, 1.8)
_LASTS: Final = {
    Blow.KILL: (0.1, 1.5),
    Blow.FREEZE: (0.5, 5.0),
    Blow.CUT: (0.0, 0.0),
    Blow.TRIM: (0.5, 2.0),
    Blow.REFUSE: (0.3, 1.5),
}
_AT_A_LEADER: Final = 0.5
# A provider out of reach opens the breaker for a whole round, and little else is seen then.
_WIRES: Final = (3, 3, 3, 1)
_TRIMMED_AT: Final = (1, 6_000)


def draw(
    seed: int,
    *,
    jobs: int,
    seconds: float,
    processes: tuple[str, ...],
    leaders: tuple[str, ...] = (),
    spared: Collection[str] = (),
) -> Plan:
    """A round by its seed; `processes` are the names of those that may be struck.

    Half of the blows at nats-servers are aimed at one of the `leaders`, where there are any.

    Those that are `spared` are frozen where others would be killed.
    """
    pick = random.Random(seed)
    asked: list[JobPlan] = []
    for number in range(jobs):
        asked.append(_job(pick, seed, number, pick.uniform(0, seconds), asked))
    faults, at = [], _CALM_SECONDS
    while at < seconds:
        faults.append(_fault(pick, at, processes, leaders, spared))
        at += pick.uniform(*_BETWEEN_BLOWS)
    return Plan(seed, seconds, tuple(sorted(asked, key=lambda each: each.at)), tuple(faults))


def _job(pick: random.Random, seed: int, number: int, at: float, before: list[JobPlan]) -> JobPlan:
    surface = pick.choice(list(Surface))
    question = f"Round {seed}, question {number}: what does the tide carry?"
    tokens = 0 if pick.random() < _NATURAL else pick.randint(*_TOKENS)
    request_id = "" if pick.random() < _WITHOUT_ID else f"{seed}-{number}"
    # A call of the openai client is a create and a reader in one, which nobody cancels beside.
    may_end = surface is not Surface.OPENAI
    cancelled = may_end and pick.random() < _CANCELLED
    expiring = may_end and pick.random() < _EXPIRING
    long = (expiring or (cancelled and request_id != "")) and pick.random() < _LONG
    short = [each for each in before if each.tokens != LONG_TOKENS]
    if long:
        tokens = LONG_TOKENS
    elif short and pick.random() < REPEATED_SHARE:
        asked = pick.choice(short)
        question, tokens = asked.question, asked.tokens
    return JobPlan(
        number,
        surface,
        at,
        question,
        tokens,
        batch=pick.random() < _BATCH,
        request_id=request_id,
        cancel_after=(
            pick.uniform(*(_LONG_CANCELLED_AFTER if long else _CANCELLED_AFTER))
            if cancelled
            else None
        ),
        ttl=pick.uniform(*(_LONG_TTL if long else _TTL)) if expiring else None,
    )


def _fault(
    pick: random.Random,
    at: float,
    processes: tuple[str, ...],
    leaders: tuple[str, ...],
    spared: Collection[str],
) -> FaultPlan:
    on_a_process = pick.random() < 0.6
    if on_a_process:
        blow, target = pick.choice([Blow.KILL, Blow.FREEZE]), pick.choice(processes)
        if target in spared:
            blow = Blow.FREEZE
        if leaders and target.startswith("nats-") and pick.random() < _AT_A_LEADER:
            target = pick.choice(leaders)
    else:
        blow = pick.choice([Blow.CUT, Blow.TRIM, Blow.REFUSE])
        target = str(pick.choices(list(Wire), _WIRES)[0])
    size = pick.randint(*_TRIMMED_AT) if blow is Blow.TRIM else 0
    return FaultPlan(at, blow, target, pick.uniform(*_LASTS[blow]), size)
