"""What a log tells of the attempts that it holds: their tokens, summed, and the last one's."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CorruptLogError,
    Delta,
    Event,
    Usage,
    Waiting,
    decode_event,
)

# What a log says an attempt waits for when its worker handed the job back.
HANDED_BACK: Final = "handed_back"


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """The newest attempt of a log: what it called, and what was heard of its answer.

    `lost` and its cost (None: unknown) are of all attempts before it. `heard` counts deltas, each a
    token as far as is known; `failed` is the reason that the job then waits for, empty where the
    log does not tell. One that is `free` called nobody: its answer was there already. Provider and
    model are then those of the last attempt that called, empty where there was none.
    """

    provider: str
    model: str
    lost: Usage
    lost_cost_nano_usd: int | None
    heard: int
    failed: str = ""
    free: bool = False


def last_attempt(lines: Iterable[Append]) -> LastAttempt | None:
    """The newest attempt of a log's lines; None where none has begun.

    What cannot be read is passed over: no job must fail to end for a bill that is a little short.
    """
    started: AttemptStarted | None = None
    called = "", ""
    heard, failed = 0, ""
    for line in lines:
        for raw in line.events:
            event = _read(raw)
            if isinstance(event, AttemptStarted):
                started, heard, failed = event, 0, ""
                called = called if is_free(event) else (event.provider, event.model)
            elif isinstance(event, Delta):
                heard += is_token(event)
            elif isinstance(event, Waiting) and event.reason != HANDED_BACK:
                failed = event.reason
    if started is None:
        return None
    free, lost, cost = is_free(started), started.lost, started.lost_cost_nano_usd
    return LastAttempt(*called, lost, cost, heard, failed, free)


def is_free(started: AttemptStarted) -> bool:
    """Whether an attempt calls nobody: its answer is the cache's, or another job's."""
    return started.cache is not None and started.cache.tier != "miss"


def _read(raw: msgspec.Raw) -> Event | None:
    try:
        return decode_event(raw)
    except CorruptLogError:
        return None


def is_token(delta: Delta) -> bool:
    """Whether a delta counts as a token where the provider tells no usage."""
    return delta.kind != "logprobs"


def add_usage(one: Usage, other: Usage) -> Usage:
    """Both together; estimated as soon as one of them is."""
    return Usage(
        one.input_tokens + other.input_tokens,
        one.cached_input_tokens + other.cached_input_tokens,
        one.output_tokens + other.output_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.estimated or other.estimated,
    )


def add_cost(one: int | None, other: int | None) -> int | None:
    """Both together; unknown as soon as one of them is."""
    return None if one is None or other is None else one + other
