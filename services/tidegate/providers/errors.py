"""What can go wrong at a provider, in one error; foreign ones are translated here and only here.

what happened                                       reason                  kind
─────────────────────────────────────────────────────────────────────────────────────
no connection, 5xx, 409, an error in mid-stream     PROVIDER_UNAVAILABLE    retriable
a time-out of ours; 408 and 504                     PROVIDER_TIMEOUT        retriable
429                                                 PROVIDER_RATE_LIMITED   retriable
the stream broke off or could not be read           PROVIDER_STREAM_CUT     retriable
429 or any other status, when a quota is used up    PROVIDER_RATE_LIMITED   target
401, 403, a key that cannot be read                 PROVIDER_CREDENTIALS    target
404, a model that is not there, any other status    PROVIDER_MISCONFIGURED  target
400, 413, 415, 422                                  PROVIDER_REFUSED        caller
the same, or in mid-stream, with a code of a filter CONTENT_FILTERED        content filter
the same, with a code or a sentence of the length   CONTEXT_TOO_LONG        context length
all breakers are open                               CIRCUIT_OPEN            retriable
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from openai import APIConnectionError, APIError, APIStatusError

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers.chunks import ErrorChunkError, codes_of


class ErrorKind(StrEnum):
    """What follows from an error.

    RETRIABLE: the same call may succeed later, here or elsewhere. TARGET: not here, but another
    target may do it. The others come from the request itself, wherever it is sent.
    """

    RETRIABLE = "retriable"
    TARGET = "target"
    CALLER = "caller"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"


# The request is at fault: no other target is tried, and the provider has done its work.
CALLERS_KINDS: Final = frozenset(
    {ErrorKind.CALLER, ErrorKind.CONTENT_FILTER, ErrorKind.CONTEXT_LENGTH}
)

_LONGEST_RETRY_AFTER: Final = 3600.0
# A provider's own sentence may quote the prompt; its codes and field names may be shown.
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")

_QUOTA_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "quota_exceeded",
    }
)
_MODEL_CODES: Final = frozenset(
    {"model_not_found", "model_not_available", "deploymentnotfound", "unknown_model"}
)
# OpenAI's, Azure's (also in `innererror`), and those of servers that speak the same.
_FILTER_CODES: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "invalid_prompt",
        "data_inspection_failed",
    }
)
_LENGTH_CODES: Final = frozenset(
    {
        "context_length_exceeded",
        "context_window_exceeded",
        "string_above_max_length",
        "max_context_length_exceeded",
        "prompt_too_long",
    }
)
# Servers without codes say it in a sentence, which is read here and shown nowhere.
_LENGTH_SENTENCE: Final = re.compile(
    r"maximum context length|context (?:length|window|size)[^.]{0,40}(?:exceed|too )|"
    r"exceeds?[^.]{0,60}context (?:length|window|size)|prompt is too long|"
    r"input token count[^.]{0,60}exceeds",
    re.IGNORECASE,
)
_SENTENCE_READ: Final = 2000

# Of a provider that is over its load, or of a proxy that finds none. Any other 5xx may be the
# request's doing, and must come to an end.
_TURNED_AWAY: Final = frozenset({429, 502, 503, 529})
_OF_THE_REQUEST: Final = frozenset({400, 413, 415, 422})
_REASONS: Final = {
    **dict.fromkeys(_OF_THE_REQUEST, Reason.PROVIDER_REFUSED),
    401: Reason.PROVIDER_CREDENTIALS,
    403: Reason.PROVIDER_CREDENTIALS,
    408: Reason.PROVIDER_TIMEOUT,
    409: Reason.PROVIDER_UNAVAILABLE,
    429: Reason.PROVIDER_RATE_LIMITED,
    504: Reason.PROVIDER_TIMEOUT,
}
_KINDS: Final = {
    Reason.PROVIDER_CREDENTIALS: ErrorKind.TARGET,
    Reason.PROVIDER_MISCONFIGURED: ErrorKind.TARGET,
    Reason.PROVIDER_REFUSED: ErrorKind.CALLER,
    Reason.CONTENT_FILTERED: ErrorKind.CONTENT_FILTER,
    Reason.CONTEXT_TOO_LONG: ErrorKind.CONTEXT_LENGTH,
}


class ProviderError(Exception):
    """A call that failed.

    `message` is a sentence for a person, without a word of prompt, answer or key. `retry_after` is
    seconds until a repeat makes sense, where that is known. `usage` is what the provider had told
    of tokens when the call failed, None if nothing. `kind` None: what the reason says.
    `turned_away` says that no work was taken on: there was no connection, or the provider is over
    its load. `counts` is whether it uses up one of the calls that a run may make; who made the call
    may say that not.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        kind: ErrorKind | None = None,
        retry_after: float | None = None,
        usage: Usage | None = None,
        turned_away: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.kind = kind or _KINDS.get(reason, ErrorKind.RETRIABLE)
        self.retry_after = retry_after
        self.usage = usage
        self.turned_away = turned_away
        self.counts = True

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.kind is ErrorKind.RETRIABLE


def from_openai(error: APIError) -> ProviderError:
    """The client library's error as ours."""
    if isinstance(error, APIStatusError):
        return _from_status(error)
    if isinstance(error, APIConnectionError):
        if _timed_out(error):
            return ProviderError(
                Reason.PROVIDER_TIMEOUT,
                "no connection to the provider within its time-out",
                turned_away=True,
            )
        message = "the provider cannot be reached"
        return ProviderError(Reason.PROVIDER_UNAVAILABLE, message, turned_away=True)
    return ProviderError(Reason.PROVIDER_UNAVAILABLE, "the provider's answer cannot be used")


def from_error_chunk(error: ErrorChunkError) -> ProviderError:
    """An error that the provider reports in mid-stream as ours."""
    message = f"the provider reported an error in mid-answer{_words(error.kind, error.code)}"
    told = f"{error.kind} {error.code}"
    reason = _told(error.codes, error.text)
    if reason is not None:
        return ProviderError(reason, message)
    if error.codes & _QUOTA_CODES:
        return ProviderError(Reason.PROVIDER_RATE_LIMITED, message, kind=ErrorKind.TARGET)
    if error.codes & _MODEL_CODES:
        return ProviderError(Reason.PROVIDER_MISCONFIGURED, message)
    if "rate_limit" in told or error.code == "429":
        return ProviderError(Reason.PROVIDER_RATE_LIMITED, message)
    if "invalid_request" in told:
        return ProviderError(Reason.PROVIDER_REFUSED, message)
    return ProviderError(Reason.PROVIDER_UNAVAILABLE, message)


def _told(codes: frozenset[str], sentence: str) -> Reason | None:
    """Filter or length, where the provider's words say so."""
    if codes & _FILTER_CODES:
        return Reason.CONTENT_FILTERED
    if codes & _LENGTH_CODES or _LENGTH_SENTENCE.search(sentence[:_SENTENCE_READ]):
        return Reason.CONTEXT_TOO_LONG
    return None


def _timed_out(error: BaseException) -> bool:
    """The transport calls a connection that was closed a time-out too: only its cause tells."""
    cause = error.__cause__
    return isinstance(error, TimeoutError) or (cause is not None and _timed_out(cause))


def _from_status(error: APIStatusError) -> ProviderError:
    status = error.status_code
    reason, kind = _judge(status, codes_of(error.body), error.message)
    final = kind is not None and kind is not ErrorKind.RETRIABLE
    return ProviderError(
        reason,
        f"the provider answered with status {status}{_words(error.type, error.code, error.param)}",
        kind=kind,
        retry_after=None if final else retry_after(error.response.headers),
        turned_away=status in _TURNED_AWAY and not final,
    )


def _judge(status: int, codes: frozenset[str], sentence: str) -> tuple[Reason, ErrorKind | None]:
    if codes & _QUOTA_CODES:
        return Reason.PROVIDER_RATE_LIMITED, ErrorKind.TARGET
    if status >= 500:
        return _REASONS.get(status, Reason.PROVIDER_UNAVAILABLE), None
    if codes & _MODEL_CODES:
        return Reason.PROVIDER_MISCONFIGURED, None
    told = _told(codes, sentence if status in _OF_THE_REQUEST else "")
    # Any other status says that the route leads to no such API, not that the request is wrong.
    return told or _REASONS.get(status, Reason.PROVIDER_MISCONFIGURED), None


def _words(*words: str | None) -> str:
    showable = [word for word in words if isinstance(word, str) and _SHOWABLE.fullmatch(word)]
    return f" ({', '.join(dict.fromkeys(showable))})" if showable else ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or a date) ask for, at most an hour.

    None where they say nothing that can be understood.
    """
    seconds = _number(headers.get("retry-after-ms"), 1000)
    given = headers.get("retry-after")
    if seconds is None:
        seconds = _number(given, 1)
    if seconds is None and given:
        seconds = _until(given)
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def _number(text: str | None, unit: int) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,12}(\.\d+)?\s*", text):
        return None
    return float(text) / unit


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
