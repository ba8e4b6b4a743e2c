"""The events of a job's log, and the lines in which they are stored.

One stored message holds one append: consecutive events of one attempt, as a line of JSON. Events
keep their encoded bytes (`msgspec.Raw`), so that a reader passes them on without building an
object for every token. A type that this release does not know is kept, counted and skipped.
"""

from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

LOG_VERSION: Final = 1

DeltaKind = Literal["text", "reasoning", "refusal", "tool_call", "logprobs"]


class CorruptLogError(Exception):
    """Stored bytes that no release of ours wrote, or one with a newer line format."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one attempt; `estimated` where the platform counted, not the provider."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds: acceptance to attempt, attempt to first token (or None), acceptance to end."""

    queued_ms: int
    ttft_ms: int | None
    total_ms: int


CacheTier = Literal["miss", "exact", "semantic", "coalesced"]


class CacheMark(msgspec.Struct, frozen=True):
    """Where the answer of an attempt comes from: `miss` is the model, for the cache had none.

    `score` is the cosine of the questions, of the semantic tier only. `age_ms` is how long ago the
    answer was given, `source` the job that it was given to, and `entry` its name in the cache;
    `coalesced` has a source alone: a job of the same request, whose log this attempt follows.
    """

    tier: CacheTier = "miss"
    score: float | None = None
    age_ms: int = 0
    source: str = ""
    entry: str = ""


class AttemptStarted(msgspec.Struct, frozen=True, tag="attempt_started", tag_field="type"):
    """An attempt began; with `continues` false, readers drop the text so far.

    `lost` and its cost (None: unknown) are what all earlier attempts of the job spent together.
    `cache` is None where the cache was not asked, or could not say. An answer from the cache has no
    provider and no model.
    """

    attempt: int
    worker: str
    provider: str = ""
    model: str = ""
    continues: bool = False
    traceparent: str = ""
    lost: Usage = Usage()
    lost_cost_nano_usd: int | None = 0
    cache: CacheMark | None = None


class Delta(msgspec.Struct, frozen=True, tag="delta", tag_field="type"):
    """A part of the answer. `data` is text, or for tool_call and logprobs a JSON fragment."""

    data: str
    kind: DeltaKind = "text"
    choice: int = 0


class Waiting(msgspec.Struct, frozen=True, tag="waiting", tag_field="type"):
    """The attempt waits for its provider, as far as is known until `until_ms` (epoch)."""

    reason: str
    until_ms: int = 0


class Completed(msgspec.Struct, frozen=True, tag="completed", tag_field="type"):
    """The answer is whole. A cost is None where the price is not known.

    `usage` and `cost_nano_usd` are of the attempt that ended the job, at the prices of
    `price_version`; `lost` and its cost are what the attempts before it spent. `saved_nano_usd` is
    what the model's answer cost that the cache gave again (None: unknown).
    """

    finish_reasons: list[str]
    usage: Usage
    timings: Timings
    cost_nano_usd: int | None = None
    lost: Usage = Usage()
    lost_cost_nano_usd: int | None = 0
    price_version: str = ""
    saved_nano_usd: int | None = 0


class _Ended(msgspec.Struct, frozen=True):
    reason: str
    message: str
    retriable: bool = False
    usage: Usage = Usage()
    cost_nano_usd: int | None = None
    lost: Usage = Usage()
    lost_cost_nano_usd: int | None = 0
    price_version: str = ""
    # How long to wait before the same request may succeed, where that is known.
    retry_after_ms: int | None = None


class Failed(_Ended, frozen=True, tag="failed", tag_field="type"):
    """Ended by an error."""


class Cancelled(_Ended, frozen=True, tag="cancelled", tag_field="type"):
    """Ended by a caller."""


class Expired(_Ended, frozen=True, tag="expired", tag_field="type"):
    """Ended by its time to live."""


Terminal = Completed | Failed | Cancelled | Expired
Event = AttemptStarted | Delta | Waiting | Terminal
TERMINAL_TYPES: Final = frozenset({"completed", "failed", "cancelled", "expired"})


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self.value in TERMINAL_TYPES


class JobSummary(msgspec.Struct, frozen=True):
    """What a finished job's log must say of the job itself, for its queue message is gone.

    Times are milliseconds since the epoch by JetStream's clock.
    """

    id: str
    model: str
    queue: str
    job_class: str
    created_ms: int
    deadline_ms: int
    request_hash: str
    replay_of: str = ""


def _log_version() -> int:
    return LOG_VERSION


class Append(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: consecutive events of one attempt.

    `first` is the sequence of `events[0]`; `log` the stream sequence of the log's first message (0
    in that message itself), where a replay starts reading; `at_ms` the writer's clock; `returned`
    how many attempts so far do not count against the job: those that a worker handed back since it
    had to stop, and a batch job's probes of a provider that was down; `job` stands in the sealing
    line only, `tombstone` in that of a deleted job (which holds no events).
    """

    attempt: int
    first: int
    at_ms: int
    events: list[msgspec.Raw]
    # By factory, so that the version is written although it is the default.
    v: int = msgspec.field(default_factory=_log_version)
    log: int = 0
    returned: int = 0
    job: JobSummary | None = None
    tombstone: bool = False

    @property
    def last(self) -> int:
        """Sequence of the last event."""
        return self.first + len(self.events) - 1


class _Type(msgspec.Struct, frozen=True):
    type: str


# What `msgspec` raises for bytes that are not what they should be; deep nesting is the last one.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder()
_append_decoder = msgspec.json.Decoder(Append)
_event_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)
_type_decoder = msgspec.json.Decoder(_Type)


def encode_event(event: Event) -> msgspec.Raw:
    """The event as it is stored and sent: a JSON object whose `type` comes first."""
    return msgspec.Raw(_encoder.encode(event))


def event_type(raw: msgspec.Raw | bytes) -> str:
    """The `type` of an encoded event, known or not."""
    return _type_decoder.decode(raw).type


def decode_event(raw: msgspec.Raw | bytes) -> Event | None:
    """The event, or None for a type that this release does not know.

    Raises:
        CorruptLogError: a known type without its fields, or no event at all.
    """
    try:
        event: Event = _event_decoder.decode(raw)
    except UNDECODABLE as error:
        if _is_of_unknown_type(raw):
            return None
        raise CorruptLogError(f"not an event: {error}") from error
    return event


_KNOWN_TYPES: Final = TERMINAL_TYPES | {"attempt_started", "delta", "waiting"}


def _is_of_unknown_type(raw: msgspec.Raw | bytes) -> bool:
    try:
        return event_type(raw) not in _KNOWN_TYPES
    except UNDECODABLE:
        return False


def encode_append(append: Append) -> bytes:
    """The line, without a line end; JSON holds none inside."""
    return _encoder.encode(append)


def decode_append(line: bytes) -> Append:
    """The line's append.

    Raises:
        CorruptLogError: not a line, or one of a format newer than this release.
    """
    try:
        append = _append_decoder.decode(line)
    except UNDECODABLE as error:
        raise CorruptLogError(f"not a line of a log: {error}") from error
    if append.v > LOG_VERSION:
        raise CorruptLogError(f"line format {append.v} is newer than {LOG_VERSION}")
    return append
