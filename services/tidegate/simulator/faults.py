"""How a call is to behave: pace and faults, and where each of them comes from.

A `Behaviour` is complete; an `Override` changes some of it. The settings give the behaviour of
every call, a `Fault` posted to the control API overrides it for the calls that match, and the
header `x-simulator` of a single request overrides both. `plan_call` then draws the dice once and
says what this call will do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Annotated, Final, Literal

import msgspec

HEADER: Final = "x-simulator"
MOST_FAULTS: Final = 1000

Endpoint = Literal["chat", "embeddings"]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Pace = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Position = Annotated[int, msgspec.Meta(ge=0)]
ErrorStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """All that steers a call. Times in seconds, shares from 0 to 1, positions in tokens sent.

    `jitter`: how late a token may come, as a share of the time between two tokens; the time to the
    first token is stretched by up to the same share. `fail`: answer with this status at once.
    `cut_after`: reset the connection; `error_after`: an error event in mid-stream; `end_after`: end
    the body properly without finish reason or `[DONE]`; `stall_after`: fall silent for `stall_s`.
    """

    ttft: Seconds = 0.2
    tokens_per_s: Pace = 40.0
    jitter: Share = 0.0
    error_rate: Share = 0.0
    rate_limit_rate: Share = 0.0
    retry_after: Seconds = 1.0
    stall_rate: Share = 0.0
    stall_s: Seconds = 30.0
    cut_rate: Share = 0.0
    fail: ErrorStatus | None = None
    cut_after: Position | None = None
    error_after: Position | None = None
    end_after: Position | None = None
    stall_after: Position | None = None

    def overridden(self, override: "Override") -> "Behaviour":
        """This behaviour, changed where the override says so."""
        changes = {
            field: value
            for field in Override.__struct_fields__
            if (value := getattr(override, field)) is not None
        }
        return msgspec.structs.replace(self, **changes)


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes to a `Behaviour`; None leaves a field as it is."""

    ttft: Seconds | None = None
    tokens_per_s: Pace | None = None
    jitter: Share | None = None
    error_rate: Share | None = None
    rate_limit_rate: Share | None = None
    retry_after: Seconds | None = None
    stall_rate: Share | None = None
    stall_s: Seconds | None = None
    cut_rate: Share | None = None
    fail: ErrorStatus | None = None
    cut_after: Position | None = None
    error_after: Position | None = None
    end_after: Position | None = None
    stall_after: Position | None = None


class Fault(Override, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An override for the calls that match; `calls` None means until it is cleared."""

    calls: Annotated[int, msgspec.Meta(ge=1)] | None = None
    endpoint: Endpoint = "chat"
    model: str | None = None

    def matches(self, endpoint: Endpoint, model: str) -> bool:
        """Whether a call of this endpoint and model is meant."""
        return self.endpoint == endpoint and self.model in (None, model)


def parse_header(value: str) -> Override:
    """`ttft=0.5;fail=429` as an override. Raises ValueError that names the field at fault."""
    pairs = [part.split("=", 1) for part in value.split(";") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{HEADER} holds name=value pairs, separated by semicolons")
    given = {name.strip(): text.strip() for name, text in pairs}
    return msgspec.convert(given, Override, strict=False)


class FaultBook:
    """The faults that were posted and still hold; the oldest that matches a call applies to it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let the fault hold. Raises ValueError when there are `MOST_FAULTS` already."""
        if len(self._faults) >= MOST_FAULTS:
            raise ValueError(f"there are {MOST_FAULTS} faults already; clear them first")
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def active(self) -> list[Fault]:
        """The faults that still hold, oldest first, each with the calls it has left."""
        return list(self._faults)

    def take(self, endpoint: Endpoint, model: str) -> Fault | None:
        """The fault of a call that begins now, one of its calls used up; None without any."""
        for place, fault in enumerate(self._faults):
            if fault.matches(endpoint, model):
                self._use(place, fault)
                return fault
        return None

    def _use(self, place: int, fault: Fault) -> None:
        if fault.calls is None:
            return
        if fault.calls == 1:
            del self._faults[place]
        else:
            self._faults[place] = msgspec.structs.replace(fault, calls=fault.calls - 1)


class Break(StrEnum):
    """The ways in which an answer can end too early."""

    CUT = "cut"
    ERROR = "error"
    END = "end"


@dataclass(frozen=True, slots=True)
class Failure:
    """The call is refused at once; `retry_after` in seconds, None where the status has none."""

    status: int
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a call will do, times in seconds; a position of -1 means never."""

    ttft: float
    interval: float
    jitter: float
    stall_s: float
    stall_after: int = -1
    break_after: int = -1
    break_kind: Break = Break.CUT


def plan_call(behaviour: Behaviour, length: int, dice: Random) -> CallPlan | Failure:
    """Draw the call's fate. `length`: tokens of its answer; explicit positions beat the rates."""
    failure = _draw_failure(behaviour, dice)
    if failure is not None:
        return failure
    break_after, break_kind = _draw_break(behaviour, length, dice)
    return CallPlan(
        ttft=behaviour.ttft * (1.0 + behaviour.jitter * dice.random()),
        interval=1.0 / behaviour.tokens_per_s,
        jitter=behaviour.jitter,
        stall_s=behaviour.stall_s,
        stall_after=_draw_stall(behaviour, length, dice),
        break_after=break_after,
        break_kind=break_kind,
    )


def _draw_failure(behaviour: Behaviour, dice: Random) -> Failure | None:
    status, draw = behaviour.fail, dice.random()
    if status is None and draw < behaviour.rate_limit_rate:
        status = 429
    elif status is None and draw < behaviour.rate_limit_rate + behaviour.error_rate:
        status = 500
    if status is None:
        return None
    return Failure(status, behaviour.retry_after if status in (429, 503) else None)


def _draw_break(behaviour: Behaviour, length: int, dice: Random) -> tuple[int, Break]:
    explicit = list(_explicit_breaks(behaviour))
    if explicit:
        return min(explicit)
    if dice.random() < behaviour.cut_rate:
        return dice.randrange(1, length + 1), Break.CUT
    return -1, Break.CUT


def _explicit_breaks(behaviour: Behaviour) -> Iterable[tuple[int, Break]]:
    if behaviour.cut_after is not None:
        yield behaviour.cut_after, Break.CUT
    if behaviour.error_after is not None:
        yield behaviour.error_after, Break.ERROR
    if behaviour.end_after is not None:
        yield behaviour.end_after, Break.END


def _draw_stall(behaviour: Behaviour, length: int, dice: Random) -> int:
    if behaviour.stall_after is not None:
        return behaviour.stall_after
    return dice.randrange(length) if dice.random() < behaviour.stall_rate else -1
