"""What can go wrong at a provider, in one error; foreign ones are translated here and only here.

what happened                                       reason                  retriable
──────────────────────────────────────────────────────────────────────────────────────
no connection, 5xx, 409, an error in mid-stream     PROVIDER_UNAVAILABLE    yes
a time-out of ours; 408 and 504                     PROVIDER_TIMEOUT        yes
429 (but not when a quota is used up)               PROVIDER_RATE_LIMITED   yes
the stream broke off or could not be read           PROVIDER_STREAM_CUT     yes
401, 403, a key that cannot be read                 PROVIDER_CREDENTIALS    no
any other status                                    PROVIDER_REFUSED        no
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from openai import APIConnectionError, APIError, APIStatusError

from tidegate.contracts.errors import Reason
from tidegate.providers.chunks import ErrorChunkError

_LONGEST_RETRY_AFTER: Final = 3600.0
# A provider's own sentence may quote the prompt; its codes and field names may be shown.
_SHOWABLE: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,80}")
_QUOTA_CODES: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_REASONS: Final = {
    401: Reason.PROVIDER_CREDENTIALS,
    403: Reason.PROVIDER_CREDENTIALS,
    408: Reason.PROVIDER_TIMEOUT,
    409: Reason.PROVIDER_UNAVAILABLE,
    429: Reason.PROVIDER_RATE_LIMITED,
    504: Reason.PROVIDER_TIMEOUT,
}
_FINAL: Final = frozenset({Reason.PROVIDER_CREDENTIALS, Reason.PROVIDER_REFUSED})


class ProviderError(Exception):
    """A call that failed.

    `message` is a sentence for a person, without a word of prompt, answer or key; `retriable` says
    whether the same call may succeed later, `retry_after` after how many seconds if the provider
    said so.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retriable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retriable = reason not in _FINAL if retriable is None else retriable
        self.retry_after = retry_after


def from_openai(error: APIError) -> ProviderError:
    """The client library's error as ours."""
    if isinstance(error, APIStatusError):
        return _from_status(error)
    if isinstance(error, APIConnectionError):
        if _timed_out(error):
            return ProviderError(
                Reason.PROVIDER_TIMEOUT, "no connection to the provider within its time-out"
            )
        return ProviderError(Reason.PROVIDER_UNAVAILABLE, "the provider cannot be reached")
    return ProviderError(Reason.PROVIDER_UNAVAILABLE, "the provider's answer cannot be used")


def from_error_chunk(error: ErrorChunkError) -> ProviderError:
    """An error that the provider reports in mid-stream as ours."""
    words = _words(error.kind, error.code, None)
    told = f"{error.kind} {error.code}"
    if "rate_limit" in told or error.code == "429":
        reason = Reason.PROVIDER_RATE_LIMITED
    elif "invalid_request" in told or "content_filter" in told:
        reason = Reason.PROVIDER_REFUSED
    else:
        reason = Reason.PROVIDER_UNAVAILABLE
    return ProviderError(reason, f"the provider reported an error in mid-answer{words}")


def _timed_out(error: BaseException) -> bool:
    """The transport calls a connection that was closed a time-out too: only its cause tells."""
    cause = error.__cause__
    return isinstance(error, TimeoutError) or (cause is not None and _timed_out(cause))


def _from_status(error: APIStatusError) -> ProviderError:
    status = error.status_code
    reason = _REASONS.get(status)
    if reason is None:
        reason = Reason.PROVIDER_UNAVAILABLE if status >= 500 else Reason.PROVIDER_REFUSED
    used_up = error.code in _QUOTA_CODES
    return ProviderError(
        reason,
        f"the provider answered with status {status}{_words(error.type, error.code, error.param)}",
        retriable=False if used_up else None,
        retry_after=None if used_up else retry_after(error.response.headers),
    )


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
