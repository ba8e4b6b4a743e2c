"""Why a job did not end well, as HTTP errors that OpenAI's clients act on rightly. No I/O.

A client repeats 408, 409, 429 and 5xx, unless `x-should-retry` says otherwise.

reason                                  status  code                      repeat?
──────────────────────────────────────────────────────────────────────────────────────
PROVIDER_REFUSED                        400     provider_refused          no
CONTENT_FILTERED                        400     content_filter            no
CONTEXT_TOO_LONG                        400     context_length_exceeded   no
MODEL_NOT_FOUND, JOB_NOT_FOUND          404     (the reason)              no
CANCELLED_BY_CALLER, OUTPUT_TOO_LONG    422     (the reason)              no
PROVIDER_RATE_LIMITED                   429     (the reason)              if retriable
JOB_UNREADABLE, INTERNAL                500     (the reason)              no
PROVIDER_CREDENTIALS                    502     (the reason)              no
PROVIDER_MISCONFIGURED                  502     (the reason)              no
PROVIDER_STREAM_CUT, ATTEMPTS_EXHAUSTED 502     (the reason)              yes
CIRCUIT_OPEN, PROVIDER_UNAVAILABLE      503     (the reason)              yes
PROVIDER_TIMEOUT, DEADLINE_EXCEEDED     504     (the reason)              yes
ANSWER_DIVERGED (in mid-stream only)    502     answer_changed            yes, with the same key
one that this release does not know     502     (the reason)              if retriable
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.chassis.http_errors import error_body
from tidegate.contracts.errors import Reason, TidegateError
from tidegate.contracts.fold import JobError
from tidegate.gateway.openai.request import IDEMPOTENCY_HEADER

_LONGEST_RETRY_AFTER: Final = 59  # seconds; clients ignore a minute and more
_DEFAULT_RETRY_AFTER: Final = 2

_STATUS: Final[dict[str, int]] = {
    Reason.PROVIDER_REFUSED: 400,
    Reason.CONTENT_FILTERED: 400,
    Reason.CONTEXT_TOO_LONG: 400,
    Reason.MODEL_NOT_FOUND: 404,
    Reason.JOB_NOT_FOUND: 404,
    Reason.CANCELLED_BY_CALLER: 422,
    Reason.OUTPUT_TOO_LONG: 422,
    Reason.PROVIDER_RATE_LIMITED: 429,
    Reason.JOB_UNREADABLE: 500,
    Reason.INTERNAL: 500,
    Reason.PROVIDER_CREDENTIALS: 502,
    Reason.PROVIDER_MISCONFIGURED: 502,
    Reason.PROVIDER_STREAM_CUT: 502,
    Reason.ATTEMPTS_EXHAUSTED: 502,
    Reason.ANSWER_DIVERGED: 502,
    Reason.CIRCUIT_OPEN: 503,
    Reason.PROVIDER_UNAVAILABLE: 503,
    Reason.PROVIDER_TIMEOUT: 504,
    Reason.DEADLINE_EXCEEDED: 504,
}
_UNKNOWN: Final = 502
_CODES: Final[dict[str, str]] = {
    Reason.CONTENT_FILTERED: "content_filter",
    Reason.CONTEXT_TOO_LONG: "context_length_exceeded",
    Reason.ANSWER_DIVERGED: "answer_changed",
}
_HOPELESS: Final = frozenset(
    {
        Reason.JOB_UNREADABLE,
        Reason.INTERNAL,
        Reason.PROVIDER_CREDENTIALS,
        Reason.PROVIDER_MISCONFIGURED,
    }
)
_TELL_WHEN: Final = frozenset({429, 503})
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client is told: `retry_after` in seconds, where a repeat makes sense."""

    status: int
    code: str
    message: str
    param: str | None = None
    repeat: bool = False
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """`{"error": {message, type, param, code}}`."""
        error = {
            "message": self.message,
            "type": _type_of(self.status),
            "param": self.param,
            "code": self.code,
        }
        return _encoder.encode({"error": error})

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After and x-should-retry, where they fit."""
        headers = {} if self.repeat else {"x-should-retry": "false"}
        if self.repeat and self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


def ended_badly(error: JobError, *, keyed: bool) -> Problem:
    """The problem of a job that ended without an answer.

    `keyed`: the request had an Idempotency-Key, under which a repeat would only find the same end.
    """
    status = _STATUS.get(error.reason, _UNKNOWN)
    known = error.reason in _STATUS
    repeat = status in {429, 500, 502, 503, 504} and error.reason not in _HOPELESS
    if status == 429 or not known:
        repeat = error.retriable
    if keyed:
        repeat = False
    return Problem(
        status,
        _CODES.get(error.reason, error.reason.lower()),
        error.message + (_SAME_KEY if keyed and error.retriable else ""),
        repeat=repeat,
        retry_after=_retry_after(status, error.retry_after_ms),
    )


def diverged() -> Problem:
    """The problem of a client that was sent text which the finished answer does not hold."""
    return Problem(
        _STATUS[Reason.ANSWER_DIVERGED],
        _CODES[Reason.ANSWER_DIVERGED],
        "the model was asked again and answers otherwise than what was sent so far; a request with "
        "the same Idempotency-Key, made soon, gets the finished answer",
        repeat=True,
    )


def refused(error: TidegateError) -> Problem:
    """The problem of a refusal, for a stream whose headers are out."""
    told = error_body(error)["error"]
    return Problem(error.http_status, told["code"] or "", error.message, error.field, repeat=True)


def named_by_header(error: TidegateError) -> TidegateError:
    """`error` in the words of a caller who gave the job's request id as an Idempotency-Key."""
    error.message = error.message.replace(_OUR_FIELD, IDEMPOTENCY_HEADER)
    if error.field == _OUR_FIELD:
        error.field = IDEMPOTENCY_HEADER
    return error


_OUR_FIELD: Final = "request_id"
_SAME_KEY: Final = " (this Idempotency-Key stays with this end; to try again, use another)"


def _retry_after(status: int, told_ms: int | None) -> int | None:
    if told_ms is not None:
        return min(max(math.ceil(told_ms / 1000), 1), _LONGEST_RETRY_AFTER)
    return _DEFAULT_RETRY_AFTER if status in _TELL_WHEN else None


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
