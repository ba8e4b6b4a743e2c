"""A job's events as `chat.completion.chunk`s: a projection of the log, event by event. No I/O.

The frames of one stream, put together as clients do it, are the job's answer, or they end in an
error. There is exactly one end: a chunk with a finish reason (then usage, if asked for, and
`[DONE]`), or an error.

Where the answer comes from is for the headers to say, which go out with the first frame. Where they
had to go before it was known, or another attempt has begun since, the chunk with the finish reason
says so, in a member of its own.
"""

from typing import Any, Final

import msgspec

from tidegate.contracts.errors import InternalError
from tidegate.contracts.events import (
    UNDECODABLE,
    AttemptStarted,
    Completed,
    CorruptLogError,
    Delta,
    Event,
    Waiting,
    decode_event,
)
from tidegate.contracts.fold import (
    FunctionFragment,
    JobError,
    ToolCallFragment,
    decode_fragment,
)
from tidegate.eventlog.tail import Entry
from tidegate.gateway.openai.delivered import DivergedError, Tokens, Words
from tidegate.gateway.openai.errors import Problem, diverged, ended_badly
from tidegate.gateway.openai.provenance import Provenance
from tidegate.gateway.openai.shapes import completion_id, finish_reason, usage_json

# A comment, with one line end: some clients take a second one for an empty event.
HEARTBEAT: Final = b": hb\n"

_DONE: Final = b"data: [DONE]\n\n"
_FIELDS: Final = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}
_encoder = msgspec.json.Encoder()
_logprobs_decoder = msgspec.json.Decoder(dict[str, Any])


def error_frame(problem: Problem) -> bytes:
    """`data: {"error": {…}}`, the end of a stream that has no answer."""
    return b"data: %b\n\n" % problem.body


class Chunks:
    """Takes a job's entries in order and gives the frames for them.

    `ended` once the stream's end was given, or `problem` is set, for which the caller gives
    `error_frame` or an HTTP status, whichever it still can. `created_ms` is epoch milliseconds;
    `keyed` says that the request had an Idempotency-Key. Up to the sequence `known`, which is
    stored already, frames are held back: of attempts that were given up, nothing need be sent.
    """

    def __init__(
        self,
        job_id: str,
        model: str,
        created_ms: int,
        *,
        include_usage: bool,
        keyed: bool,
        known: int = 0,
    ) -> None:
        self.ended = False
        self.problem: Problem | None = None
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
            _encoder.encode(completion_id(job_id)),
            created_ms // 1000,
            _encoder.encode(model),
        )
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._include_usage = include_usage
        self._keyed = keyed
        self._attempt = 0
        self._known = known
        self._held: list[bytes] = []
        # Of the newest attempt; and what the headers said, once they have gone.
        self._provenance: Provenance | None = None
        self._headers_gone = False
        self._said: Provenance | None = None
        self._forget()

    def _forget(self) -> None:
        self._spoken = False
        self._words: dict[str, Words] = {kind: Words() for kind in _FIELDS}
        self._calls: dict[int, _Call] = {}
        self._logprobs: dict[str, Tokens] = {}

    def take(self, entry: Entry) -> bytes:
        """The frames of one entry, often none.

        Raises:
            InternalError: it cannot be read.
        """
        frames = self._frames(entry)
        if entry.sequence < self._known:
            self._held.append(frames)
            return b""
        if self._held:
            frames = b"".join((*self._held, frames))
            self._held.clear()
        return frames

    def headers(self) -> dict[str, str]:
        """What the stream's headers, which go out now, say of where the answer comes from."""
        self._headers_gone, self._said = True, self._provenance
        return {} if self._said is None else self._said.headers()

    def _frames(self, entry: Entry) -> bytes:
        if self.ended or entry.attempt < self._attempt:
            return b""
        try:
            event = decode_event(entry.raw)
            if isinstance(event, AttemptStarted):
                self._begin(event, nothing_sent=entry.sequence <= self._known)
                return b""
            return b"" if event is None else self._take(event)
        except DivergedError:
            self._end(diverged())
            return b""
        except (CorruptLogError, *UNDECODABLE) as error:
            raise InternalError("the job's log cannot be read") from error

    def _take(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event) if event.choice == 0 else b""
        if isinstance(event, Completed):
            return self._completed(event)
        if not isinstance(event, Waiting | AttemptStarted):
            error = JobError(event.reason, event.message, event.retriable, event.retry_after_ms)
            self._end(ended_badly(error, keyed=self._keyed))
        return b""

    def _begin(self, event: AttemptStarted, *, nothing_sent: bool) -> None:
        self._attempt, self._provenance = event.attempt, Provenance.of(event.cache)
        if event.continues:
            return
        if nothing_sent:
            self._held.clear()
            self._forget()
        for each in self._delivered():
            each.again()

    def _delivered(self) -> "list[Words | Tokens | _Call]":
        return [*self._words.values(), *self._calls.values(), *self._logprobs.values()]

    def _delta(self, delta: Delta) -> bytes:
        if delta.kind == "tool_call":
            return self._tool_call(decode_fragment(delta.data))
        if delta.kind == "logprobs":
            return self._log_probabilities(_logprobs_decoder.decode(delta.data))
        piece = self._words[delta.kind].take(delta.data)
        if not piece:
            return b""
        return self._chunk(b'"%b":%b' % (_FIELDS[delta.kind].encode(), _encoder.encode(piece)))

    def _tool_call(self, fragment: ToolCallFragment) -> bytes:
        call = self._calls.get(fragment.index)
        if call is None:
            call = self._calls[fragment.index] = _Call(fragment.index)
        news = call.take(fragment)
        return b"" if news is None else self._chunk(b'"tool_calls":[%b]' % _encoder.encode(news))

    def _log_probabilities(self, given: dict[str, Any]) -> bytes:
        news: dict[str, list[Any] | None] = {"content": None, "refusal": None}
        for name, items in given.items():
            if isinstance(items, list):
                tokens = self._logprobs.setdefault(name, Tokens())
                news[name] = tokens.take(items) or None
        if not any(news.values()):
            return b""
        return self._chunk(b"", logprobs=_encoder.encode(news))

    def _completed(self, event: Completed) -> bytes:
        if any(each.behind for each in self._delivered()):
            raise DivergedError
        told = event.finish_reasons[0] if event.finish_reasons else ""
        reason = finish_reason(told, calls_tools=bool(self._calls))
        frames = [] if self._spoken else [self._chunk(b'"content":""')]
        frames.append(self._chunk(b"", finish=_encoder.encode(reason), more=self._unsaid()))
        if self._include_usage:
            usage = _encoder.encode(usage_json(event.usage))
            frames.append(b'%b"choices":[],"usage":%b}\n\n' % (self._head, usage))
        frames.append(_DONE)
        self.ended = True
        return b"".join(frames)

    def _unsaid(self) -> bytes:
        """The member of the last chunk that makes up for the headers; empty where they said it."""
        if not self._headers_gone or self._provenance in (None, self._said):
            return b""
        return b',"tidegate":%b' % _encoder.encode(self._provenance)

    def _end(self, problem: Problem) -> None:
        self.problem, self.ended = problem, True

    def _chunk(
        self,
        delta: bytes,
        *,
        logprobs: bytes = b"null",
        finish: bytes = b"null",
        more: bytes = b"",
    ) -> bytes:
        if not self._spoken:
            # In the first chunk beside whatever comes first; `content` is null where that is none.
            self._spoken = True
            null = b"" if delta.startswith(b'"content"') else b',"content":null'
            delta = b'"role":"assistant"%b%b%b' % (null, b"," if delta else b"", delta)
        return b'%b"choices":[{"index":0,"delta":{%b},"logprobs":%b,"finish_reason":%b}]%b%b' % (
            self._head,
            delta,
            logprobs,
            finish,
            more,
            self._tail,
        )


class _Call:
    """One tool call on its way: each part of it is sent once."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._id, self._name, self._arguments = Words(), Words(), Words()
        self._identified = False
        self._first = True

    @property
    def behind(self) -> bool:
        return self._id.behind or self._name.behind or self._arguments.behind

    def again(self) -> None:
        self._identified = False
        for each in (self._id, self._name, self._arguments):
            each.again()

    def take(self, fragment: ToolCallFragment) -> dict[str, object] | None:
        """What of a fragment is to be sent, or None."""
        function = fragment.function or FunctionFragment()
        news: dict[str, object] = {"index": self._index}
        if fragment.id and not self._identified:
            # Clients that put strings together would double an id that is repeated.
            self._identified = True
            if new_id := self._id.take(fragment.id):
                news["id"] = new_id
        words = {
            "name": self._name.take(function.name or ""),
            "arguments": self._arguments.take(function.arguments or ""),
        }
        if self._first:
            self._first = False
            return news | {"type": "function", "function": words}
        if len(news) == 1 and not any(words.values()):
            return None
        return news | {"function": {name: word for name, word in words.items() if word}}
