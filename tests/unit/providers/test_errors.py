"""Translation of provider errors: what is retried, what is told, and that nothing is quoted."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, APIStatusError, APITimeoutError

from tidegate.contracts.errors import Reason
from tidegate.providers.chunks import ErrorChunkError
from tidegate.providers.errors import from_error_chunk, from_openai, retry_after

REQUEST = httpx2.Request("POST", "http://provider/v1/chat/completions")
SECRET = "When does the tide turn? Incorrect key sk-123"


def status(answered: int, headers: dict[str, str] | None = None, **error: Any) -> APIStatusError:
    response = httpx2.Response(answered, headers=headers or {}, request=REQUEST)
    return APIStatusError(SECRET, response=response, body={"message": SECRET} | error)


@pytest.mark.parametrize(
    ("code", "reason", "retriable"),
    [
        (400, Reason.PROVIDER_REFUSED, False),
        (401, Reason.PROVIDER_CREDENTIALS, False),
        (403, Reason.PROVIDER_CREDENTIALS, False),
        (404, Reason.PROVIDER_REFUSED, False),
        (307, Reason.PROVIDER_REFUSED, False),
        (408, Reason.PROVIDER_TIMEOUT, True),
        (409, Reason.PROVIDER_UNAVAILABLE, True),
        (422, Reason.PROVIDER_REFUSED, False),
        (429, Reason.PROVIDER_RATE_LIMITED, True),
        (500, Reason.PROVIDER_UNAVAILABLE, True),
        (503, Reason.PROVIDER_UNAVAILABLE, True),
        (504, Reason.PROVIDER_TIMEOUT, True),
        (529, Reason.PROVIDER_UNAVAILABLE, True),
    ],
)
def test_each_status(code: int, reason: Reason, retriable: bool) -> None:
    error = from_openai(status(code, type="some_error", param="messages[0].name", code=SECRET))
    assert (error.reason, error.retriable) == (reason, retriable)
    assert f"status {code} (some_error, messages[0].name)" in error.message


def test_a_used_up_quota_is_not_a_rate_limit_that_passes() -> None:
    error = from_openai(status(429, {"retry-after": "1"}, code="insufficient_quota"))
    assert (error.retriable, error.retry_after) == (False, None)


def test_nothing_of_prompt_or_key_is_in_any_message() -> None:
    errors = [from_openai(status(code, type=SECRET, param=SECRET)) for code in (400, 401, 429, 500)]
    errors.append(from_error_chunk(ErrorChunkError(SECRET, SECRET)))
    assert not [error for error in errors if "tide" in error.message or "sk-" in error.message]


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("server_error", "500", Reason.PROVIDER_UNAVAILABLE),
        (None, None, Reason.PROVIDER_UNAVAILABLE),
        ("requests", "rate_limit_exceeded", Reason.PROVIDER_RATE_LIMITED),
        ("invalid_request_error", None, Reason.PROVIDER_REFUSED),
    ],
)
def test_an_error_in_mid_stream(kind: str | None, code: str | None, reason: Reason) -> None:
    assert from_error_chunk(ErrorChunkError(kind, code)).reason == reason


def test_a_closed_connection_is_no_time_out() -> None:
    """The client library's transport calls both so; they are retried differently."""
    closed, slow = APITimeoutError(REQUEST), APITimeoutError(REQUEST)
    closed.__cause__, slow.__cause__ = ConnectionResetError(), TimeoutError()
    assert from_openai(closed).reason == Reason.PROVIDER_UNAVAILABLE
    assert from_openai(slow).reason == Reason.PROVIDER_TIMEOUT
    assert from_openai(APIConnectionError(request=REQUEST)).reason == Reason.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "86400"}, 3600),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    seconds = retry_after({"retry-after": later})
    assert seconds is not None
    assert 20 < seconds <= 30
    assert retry_after({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0


def test_the_error_body_of_openai_is_understood() -> None:
    """As the client library hands it on: the inner object of its error body."""
    body = json.loads('{"type": "invalid_request_error", "param": "temperature", "code": null}')
    assert "(invalid_request_error, temperature)" in from_openai(status(400, **body)).message
