"""JetStream's wire protocol, as far as we use it: fenced publish, leader and direct reads.

One reply subscription serves all requests of a process, with a future and a timer each: 22 µs of
Python for a publish with its acknowledgement, where the client library's own takes 50
(bench/eventlog_cost.py). What JetStream means by an answer is documented in the server's
ADR-1, ADR-8, ADR-31 and ADR-50.
"""

import asyncio
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from tidegate.chassis.nats_client import NatsClient

EXPECTED_LAST_SUBJECT_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"

# Error codes of the server (server/errors.json).
WRONG_LAST_SEQUENCE: Final = 10071
WRONG_LAST_SEQUENCE_UNKNOWN: Final = 10164
NO_MESSAGE: Final = 10037
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
STORE_FULL: Final = 10077
_PASSING: Final = frozenset({10158, WRONG_LAST_SEQUENCE_UNKNOWN, STORE_FULL})
# More than this unsent means that the server does not read: adding to it only fills the memory.
_MAX_UNSENT_BYTES: Final = 64 * 1024 * 1024

_BATCH = 500
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class JetStreamError(Exception):
    """What a request to JetStream ended in, other than its answer."""


class NoAnswerError(JetStreamError):
    """Time-out, no responder, or no connection: whether a publish was stored is not known."""


class NotSentError(NoAnswerError):
    """There is no connection: a publish was not sent, and will not be stored later."""


class TooLargeError(JetStreamError):
    """The message is over the server's bound: it was not sent, and never will be stored."""


class RefusedError(JetStreamError):
    """The server refused; `code` is its error code, `status` the class of it, as in HTTP."""

    def __init__(self, code: int, description: str, status: int = 400) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.status = status

    @property
    def passes(self) -> bool:
        """Whether the same request may be taken a moment later."""
        return self.status == 503 or self.code in _PASSING


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it is kept: `sequence` is the stream's, `time_ms` JetStream's clock."""

    subject: str
    sequence: int
    payload: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive messages of a filter; `pending` of them are still to come."""

    messages: list[Stored]
    pending: int


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: _ApiError | None = None


class _KeptMessage(msgspec.Struct):
    subject: str
    seq: int
    time: datetime
    data: str = ""


class _Kept(msgspec.Struct):
    message: _KeptMessage | None = None
    error: _ApiError | None = None


_ack_decoder = msgspec.json.Decoder(_Ack)
_kept_decoder = msgspec.json.Decoder(_Kept)


class JetStream:
    """Requests to JetStream over one connection. `timeout` is seconds for each request."""

    def __init__(self, client: NatsClient, *, timeout: float = 1.0) -> None:
        self._client = client
        self._timeout = timeout
        self._prefix = ""
        self._tokens = count()
        self._waiting: dict[str, Callable[[Msg], None]] = {}

    async def start(self) -> None:
        """Subscribes for replies; call it once, after the connection was made."""
        self._prefix = self._client.new_inbox() + "."
        await self._client.listen(self._prefix + "*", self._reply)

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        """Stores a message; returns its stream sequence.

        Raises:
            NoAnswerError: whether it was stored is not known.
            RefusedError, TooLargeError: it was not stored.
        """
        ack = _ack_decoder.decode((await self.request(subject, payload, headers)).data)
        if ack.error is not None:
            raise _refused(ack.error)
        return ack.seq

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject (wildcards allowed), read from the stream's leader.

        Raises:
            NoAnswerError, RefusedError: as their docstrings say.
        """
        return await self._kept(stream, {"last_by_subj": subject})

    async def next(self, stream: str, subject: str, start: int) -> Stored | None:
        """The first message of a subject at or after a stream sequence, from the leader.

        Raises:
            NoAnswerError, RefusedError: as their docstrings say.
        """
        return await self._kept(stream, {"seq": start, "next_by_subj": subject})

    async def direct_last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject, from any replica: it may be stale.

        Raises:
            NoAnswerError, RefusedError: as their docstrings say.
        """
        message = await self.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"")
        if _status(message) == "404":
            return None
        _raise_for_status(message)
        return _stored(message)

    async def direct_batch(
        self,
        stream: str,
        subject: str,
        start: int,
        limit: int = _BATCH,
        *,
        max_bytes: int | None = None,
    ) -> Batch:
        """At most `limit` messages from a stream sequence on, from any replica: maybe stale.

        `max_bytes` bounds them together, though one message always comes; None: the server's bound.

        Raises:
            NoAnswerError, RefusedError: as their docstrings say; nothing of a batch is returned.
        """
        items: list[Stored] = []
        lost = False
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def collect(message: Msg) -> None:
            nonlocal lost
            status = _status(message)
            if status is None:
                before = items[-1].sequence if items else 0
                lost = lost or _previous_in_batch(message) != before
                items.append(_stored(message))
            elif not done.done():
                _finish_batch(done, message, status)

        body = {"seq": max(start, 1), "next_by_subj": subject, "batch": limit}
        if max_bytes is not None:
            body["max_bytes"] = max_bytes
        token = await self._send(
            f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(body), None, collect
        )
        try:
            async with asyncio.timeout(self._timeout * 5):
                pending = await done
        except TimeoutError as error:
            raise NoAnswerError(f"no end of a batch from {stream}") from error
        finally:
            self._waiting.pop(token, None)
        if lost:
            # The connection was renewed meanwhile, and the rest came over the new one.
            raise NoAnswerError(f"a batch from {stream} has a hole")
        return Batch(items, pending)

    async def api(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other call of `$JS.API`, its answer decoded.

        Raises:
            NoAnswerError, RefusedError: as their docstrings say.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        message = await self.request(f"$JS.API.{verb}", payload)
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        if error := answer.get("error"):
            raise _refused(msgspec.convert(error, _ApiError))
        return answer

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> Msg:
        """One request, one reply.

        Raises:
            NoAnswerError: none came in time.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()

        def answered(message: Msg) -> None:
            if not future.done():
                future.set_result(message)

        token = await self._send(subject, payload, headers, answered)
        timer = loop.call_later(self._timeout, _time_out, future, subject)
        try:
            message = await future
        finally:
            timer.cancel()
            self._waiting.pop(token, None)
        if _status(message) == "503":
            raise NoAnswerError(f"nobody answers {subject.split('.', 1)[0]} requests")
        return message

    async def _send(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        on_reply: Callable[[Msg], None],
    ) -> str:
        if self._client.pending_data_size > _MAX_UNSENT_BYTES:
            await asyncio.sleep(0)
            raise NotSentError("the server does not read")
        token = f"{self._prefix}{next(self._tokens)}"
        self._waiting[token] = on_reply
        try:
            await self._client.publish(subject, payload, reply=token, headers=headers)
        except BaseException as error:
            del self._waiting[token]
            if isinstance(error, MaxPayloadError):
                raise TooLargeError(f"{len(payload)} bytes are too many for the server") from error
            if isinstance(error, NatsError):
                # A caller that repeats at once must not keep the loop from reconnecting.
                await asyncio.sleep(0)
                raise NotSentError(f"not sent: {error}") from error
            raise
        return token

    def _reply(self, message: Msg) -> None:
        on_reply = self._waiting.get(message.subject)
        if on_reply is not None:
            on_reply(message)

    async def _kept(self, stream: str, body: dict[str, Any]) -> Stored | None:
        message = await self.request(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(body))
        kept = _kept_decoder.decode(message.data)
        if kept.error is not None:
            if kept.error.err_code == NO_MESSAGE:
                return None
            raise _refused(kept.error)
        if kept.message is None:
            raise RefusedError(0, "an answer without a message")
        found = kept.message
        return Stored(found.subject, found.seq, b64decode(found.data), _ms(found.time))


def _refused(error: _ApiError) -> RefusedError:
    return RefusedError(error.err_code, error.description, error.code)


def _time_out(future: asyncio.Future[Msg], subject: str) -> None:
    if not future.done():
        future.set_exception(NoAnswerError(f"no answer on {subject.split('.', 1)[0]} in time"))


def _status(message: Msg) -> str | None:
    return message.headers.get("Status") if message.headers else None


def _raise_for_status(message: Msg) -> None:
    status = _status(message)
    if status is not None:
        raise RefusedError(int(status), (message.headers or {}).get("Description", ""))


def _finish_batch(done: asyncio.Future[int], message: Msg, status: str) -> None:
    headers = message.headers or {}
    if status == "204":
        done.set_result(int(headers.get("Nats-Num-Pending", "0")))
    elif status == "404":
        done.set_result(0)
    elif status == "503":
        done.set_exception(NoAnswerError("nobody answers direct reads"))
    else:
        done.set_exception(RefusedError(int(status), headers.get("Description", "")))


def _previous_in_batch(message: Msg) -> int:
    return int((message.headers or {}).get("Nats-Last-Sequence", "0"))


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    return Stored(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        message.data,
        _ms(datetime.fromisoformat(headers["Nats-Time-Stamp"])),
    )


def _ms(moment: datetime) -> int:
    # In whole numbers: the same message's time must come out the same wherever it is read.
    return (moment - _EPOCH) // timedelta(milliseconds=1)
