"""What a client reads: stored events as frames, by splicing bytes, and the server's own frames.

A stored event is a JSON object whose first member is `type`. Its frame is that object with the job
and the place in the log put before it::

    {"job_id":"job_…","sequence":7,"at_ms":1700000000000,"type":"delta","data":"…",…}

Nothing is decoded or encoded for a token. WebSocket and SSE carry the same object.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final

import msgspec

from tidegate.contracts.errors import TidegateError
from tidegate.contracts.events import CacheMark
from tidegate.contracts.fold import Fold, ToolCall
from tidegate.eventlog.tail import Entry

Wrap = Callable[[bytes, Entry], bytes]

# A comment, with one line end: some clients take a second one for an empty event.
HEARTBEAT: Final = b": hb\n"

_TEXT: Final = 0x81  # final fragment, text
_medium = Struct("!BBH").pack
_long = Struct("!BBQ").pack
_encoder = msgspec.json.Encoder()


def head_of(job_id: str) -> bytes:
    """What each of a job's frames begins with; `job_id` has the form of one."""
    return b'{"job_id":"%b","sequence":' % job_id.encode()


def event_frame(head: bytes, entry: Entry) -> bytes:
    """The JSON object of one event."""
    return b'%b%d,"at_ms":%d,%b' % (head, entry.sequence, entry.at_ms, bytes(entry.raw)[1:])


def websocket_event(head: bytes, entry: Entry) -> bytes:
    """One event as a WebSocket message."""
    return text_message(event_frame(head, entry))


def sse_event(head: bytes, entry: Entry) -> bytes:
    """One event as an unnamed server-sent event whose id is its sequence."""
    return b"id: %d\ndata: %b\n\n" % (entry.sequence, event_frame(head, entry))


def text_message(payload: bytes) -> bytes:
    """A server's unfragmented text message on the wire (RFC 6455, 5.2: never masked)."""
    length = len(payload)
    if length < 126:
        return bytes((_TEXT, length)) + payload
    if length < 65536:
        return _medium(_TEXT, 126, length) + payload
    return _long(_TEXT, 127, length) + payload


def take(entries: Iterable[Entry], head: bytes, wrap: Wrap, limit: int) -> tuple[int, bytes]:
    """The frames of the first entries, about `limit` bytes (at least one), and how many it took."""
    parts: list[bytes] = []
    size = 0
    for entry in entries:
        part = wrap(head, entry)
        parts.append(part)
        size += len(part)
        if size >= limit:
            break
    return len(parts), b"".join(parts)


class _Created(msgspec.Struct, tag="created", omit_defaults=True):
    job: msgspec.Raw
    ref: str | None = None


class _CancelAccepted(msgspec.Struct, tag="cancel_accepted"):
    job_id: str


class _Ended(msgspec.Struct, tag="ended"):
    job_id: str
    sequence: int


class _Snapshot(msgspec.Struct, tag="snapshot", omit_defaults=True):
    job_id: str
    sequence: int
    attempt: int
    # By factory, so that an empty text is written too.
    text: str = msgspec.field(default_factory=str)
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = []
    cache: CacheMark | None = None


class _Error(msgspec.Struct, tag="error", omit_defaults=True):
    code: str
    message: str
    field: str | None = None
    job_id: str | None = None
    ref: str | None = None
    retry_after: float | None = None


def created(job: bytes, ref: str | None) -> bytes:
    """`created{ref, job}`; `job` is JSON."""
    return _encoder.encode(_Created(msgspec.Raw(job), ref))


def cancel_accepted(job_id: str) -> bytes:
    """`cancel_accepted{job_id}`: the request to cancel is recorded, the terminal event follows."""
    return _encoder.encode(_CancelAccepted(job_id))


def ended(job_id: str, sequence: int) -> bytes:
    """`ended{job_id, sequence}`: the job has ended, and nothing after `sequence` is left."""
    return _encoder.encode(_Ended(job_id, sequence))


def snapshot(job_id: str, folded: Fold) -> bytes:
    """`snapshot{job_id, sequence, attempt, text}`: the answer so far, in place of the events.

    `reasoning`, `refusal`, `tool_calls` and `cache` are there where they are not empty.
    """
    answer = folded.answer()
    return _encoder.encode(
        _Snapshot(
            job_id,
            folded.sequence,
            folded.attempt,
            answer.text,
            answer.reasoning,
            answer.refusal,
            answer.tool_calls,
            folded.cache,
        )
    )


def error(problem: TidegateError, *, job_id: str | None = None, ref: str | None = None) -> bytes:
    """`error{code, message}` with `field`, `job_id`, `ref` and `retry_after` where known."""
    return _encoder.encode(
        _Error(
            problem.reason.value,
            problem.message,
            problem.field,
            job_id or problem.job_id,
            ref,
            problem.retry_after,
        )
    )
