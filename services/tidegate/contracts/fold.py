"""The fold: a log's events, in order, to what a job is.

State machine (terminal states take nothing more):

    queued ─attempt_started→ running ─waiting→ waiting ─delta→ running
    queued, running, waiting ─completed | failed | cancelled | expired→ that state
"""

from typing import Any

import msgspec

from tidegate.contracts.events import (
    UNDECODABLE,
    Append,
    AttemptStarted,
    CacheMark,
    Completed,
    CorruptLogError,
    Delta,
    Event,
    JobState,
    JobSummary,
    Terminal,
    Timings,
    Usage,
    Waiting,
    decode_event,
)


class ToolCall(msgspec.Struct):
    """A tool call put together from its fragments."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Answer(msgspec.Struct):
    """What the model said in the current attempt; `finish_reason` is empty before the end."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = msgspec.field(default_factory=list)
    finish_reason: str = ""


class JobError(msgspec.Struct, frozen=True):
    """Why a job did not complete."""

    reason: str
    message: str
    retriable: bool
    retry_after_ms: int | None = None


class Fold:
    """Takes a log's lines in order; at any point it says what the job is.

    `unknown` counts events of types that this release does not know; `superseded` those of an
    attempt older than the one that runs, which a correct log never holds and which change nothing.
    `cache` is the mark of the last attempt, and `saved_nano_usd` of a completed job.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.attempt = 0
        self.state = JobState.QUEUED
        self.worker = ""
        self.usage: Usage | None = None
        self.cost_nano_usd: int | None = None
        self.lost: Usage | None = None
        self.lost_cost_nano_usd: int | None = None
        self.cache: CacheMark | None = None
        self.saved_nano_usd: int | None = None
        self.timings: Timings | None = None
        self.error: JobError | None = None
        self.finished_ms: int | None = None
        self.summary: JobSummary | None = None
        self.unknown = 0
        self.superseded = 0
        self._finish_reason = ""
        self._parts: dict[str, list[str]] = {}
        self._tool_calls: dict[int, ToolCall] = {}

    def take(self, line: Append) -> None:
        """Applies one line.

        Raises:
            CorruptLogError: a gap, or an event after the terminal one.
        """
        if line.first != self.sequence + 1:
            raise CorruptLogError(f"sequence {line.first} follows {self.sequence}")
        for raw in line.events:
            self._apply(line, decode_event(raw))
        if line.job is not None:
            self.summary = line.job

    def answer(self) -> Answer:
        """The answer so far."""
        return Answer(
            text=self._joined("text"),
            reasoning=self._joined("reasoning"),
            refusal=self._joined("refusal"),
            tool_calls=[self._tool_calls[index] for index in sorted(self._tool_calls)],
            finish_reason=self._finish_reason,
        )

    def _joined(self, kind: str) -> str:
        return "".join(self._parts.get(kind, ()))

    def _apply(self, line: Append, event: Event | None) -> None:
        if self.state.terminal:
            raise CorruptLogError(f"an event after the terminal one, {self.sequence}")
        self.sequence += 1
        if event is None:
            self.unknown += 1
        elif line.attempt < self.attempt:
            self.superseded += 1
        elif isinstance(event, Delta):
            self.state = JobState.RUNNING
            self._add(event)
        elif isinstance(event, AttemptStarted):
            self._begin(event)
        elif isinstance(event, Waiting):
            self.state = JobState.WAITING
        else:
            self._end(event, line.at_ms)

    def _begin(self, event: AttemptStarted) -> None:
        self.attempt, self.worker, self.state = event.attempt, event.worker, JobState.RUNNING
        self.cache = event.cache
        if not event.continues:
            self._parts.clear()
            self._tool_calls.clear()

    def _add(self, delta: Delta) -> None:
        if delta.choice != 0:
            return
        if delta.kind == "tool_call":
            self._add_tool_call(delta.data)
        else:
            self._parts.setdefault(delta.kind, []).append(delta.data)

    def _add_tool_call(self, data: str) -> None:
        fragment = decode_fragment(data)
        call = self._tool_calls.setdefault(fragment.index, ToolCall())
        call.id = call.id or fragment.id or ""
        if fragment.function is not None:
            call.name += fragment.function.name or ""
            call.arguments += fragment.function.arguments or ""

    def _end(self, event: Terminal, at_ms: int) -> None:
        self.state = JobState(str(event.__struct_config__.tag))
        self.finished_ms = at_ms
        self.usage, self.cost_nano_usd = event.usage, event.cost_nano_usd
        self.lost, self.lost_cost_nano_usd = event.lost, event.lost_cost_nano_usd
        if isinstance(event, Completed):
            self.timings = event.timings
            self.saved_nano_usd = event.saved_nano_usd
            self._finish_reason = event.finish_reasons[0] if event.finish_reasons else ""
        else:
            self.error = JobError(
                event.reason, event.message, event.retriable, event.retry_after_ms
            )


class FunctionFragment(msgspec.Struct):
    """Parts of a called function's name and arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallFragment(msgspec.Struct):
    """What a delta of the kind tool_call holds, as Chat Completions have it."""

    index: int = 0
    id: str | None = None
    function: FunctionFragment | None = None


_fragment_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ToolCallFragment)


def decode_fragment(data: str) -> ToolCallFragment:
    """The fragment of a delta's data.

    Raises:
        CorruptLogError: it is none.
    """
    try:
        fragment: ToolCallFragment = _fragment_decoder.decode(data)
    except UNDECODABLE as error:
        raise CorruptLogError(f"not a tool call fragment: {error}") from error
    return fragment


def fold(lines: list[Append]) -> Fold:
    """The fold of a whole log.

    Raises:
        CorruptLogError: the lines are not a log.
    """
    folded = Fold()
    for line in lines:
        folded.take(line)
    return folded
