"""Translation of provider errors: what is retried, what is told, and that nothing is quoted."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from openai import APIConnectionError, APIStatusError, APITimeoutError

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers.chunks import ChunkReader, ErrorChunkError
from tidegate.providers.errors import (
    CALLERS_KINDS,
    ErrorKind,
    ProviderError,
    from_error_chunk,
    from_openai,
    retry_after,
)

REQUEST = httpx2.Request("POST", "http://provider/v1/chat/completions")
SECRET = "When does the tide turn? Incorrect key sk-123"


def status(answered: int, headers: dict[str, str] | None = None, **error: Any) -> APIStatusError:
    response = httpx2.Response(answered, headers=headers or {}, request=REQUEST)
    return APIStatusError(SECRET, response=response, body={"message": SECRET} | error)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, Reason.PROVIDER_REFUSED, ErrorKind.CALLER),
        (401, Reason.PROVIDER_CREDENTIALS, ErrorKind.TARGET),
        (402, Reason.PROVIDER_MISCONFIGURED, ErrorKind.TARGET),
        (403, Reason.PROVIDER_CREDENTIALS, ErrorKind.TARGET),
        (404, Reason.PROVIDER_MISCONFIGURED, ErrorKind.TARGET),
        (307, Reason.PROVIDER_MISCONFIGURED, ErrorKind.TARGET),
        (408, Reason.PROVIDER_TIMEOUT, ErrorKind.RETRIABLE),
        (409, Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
        (413, Reason.PROVIDER_REFUSED, ErrorKind.CALLER),
        (422, Reason.PROVIDER_REFUSED, ErrorKind.CALLER),
        (429, Reason.PROVIDER_RATE_LIMITED, ErrorKind.RETRIABLE),
        (500, Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
        (503, Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
        (504, Reason.PROVIDER_TIMEOUT, ErrorKind.RETRIABLE),
        (529, Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
    ],
)
def test_each_status(code: int, reason: Reason, kind: ErrorKind) -> None:
    error = from_openai(status(code, type="some_error", param="messages[0].name", code=SECRET))
    assert (error.reason, error.kind) == (reason, kind)
    assert error.retriable == (kind is ErrorKind.RETRIABLE)
    assert f"status {code} (some_error, messages[0].name)" in error.message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"code": "content_filter"}, Reason.CONTENT_FILTERED),
        ({"code": "content_policy_violation"}, Reason.CONTENT_FILTERED),
        ({"innererror": {"code": "ResponsibleAIPolicyViolation"}}, Reason.CONTENT_FILTERED),
        ({"code": "context_length_exceeded"}, Reason.CONTEXT_TOO_LONG),
        ({"code": "string_above_max_length"}, Reason.CONTEXT_TOO_LONG),
        ({"code": 400, "type": "BadRequestError"}, Reason.PROVIDER_REFUSED),
        ({"innererror": "x", "code": ["y"]}, Reason.PROVIDER_REFUSED),
    ],
)
def test_filter_and_length_are_told_by_their_codes(body: dict[str, Any], reason: Reason) -> None:
    error = from_openai(status(400, **body))
    assert (error.reason, error.kind in CALLERS_KINDS) == (reason, True)
    assert from_error_chunk(chunk_error(body | {"message": SECRET})).reason in (
        reason,
        # Without a code of the request's, it is the provider's own.
        Reason.PROVIDER_UNAVAILABLE if reason is Reason.PROVIDER_REFUSED else reason,
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000.",
        "the request exceeds the available context size. try increasing the context size",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "The input token count (1050000) exceeds the maximum number of tokens allowed (1048576).",
    ],
)
def test_servers_without_codes_say_in_a_sentence_that_it_is_too_long(sentence: str) -> None:
    response = httpx2.Response(400, request=REQUEST)
    told = APIStatusError(f"Error code: 400 - {sentence}", response=response, body=None)
    error = from_openai(told)
    assert error.reason is Reason.CONTEXT_TOO_LONG
    assert sentence not in error.message
    # At another status it is no verdict on the request.
    later = APIStatusError(sentence, response=httpx2.Response(503, request=REQUEST), body=None)
    assert from_openai(later).kind is ErrorKind.RETRIABLE


@pytest.mark.parametrize("code", ["model_not_found", "DeploymentNotFound"])
def test_a_model_that_is_not_there_may_be_elsewhere(code: str) -> None:
    in_the_stream = chunk_error({"code": code, "type": "invalid_request_error"})
    for error in (from_openai(status(400, code=code)), from_error_chunk(in_the_stream)):
        assert (error.kind, error.reason) == (ErrorKind.TARGET, Reason.PROVIDER_MISCONFIGURED)


def chunk_error(given: dict[str, Any]) -> ErrorChunkError:
    with pytest.raises(ErrorChunkError) as caught:
        ChunkReader().read(json.dumps({"error": given}).encode())
    return caught.value


def test_an_error_keeps_what_was_told_of_tokens() -> None:
    used = Usage(3, 0, 2)
    assert ProviderError(Reason.PROVIDER_TIMEOUT, "slow", usage=used).usage == used
    assert ProviderError(Reason.PROVIDER_TIMEOUT, "slow").usage is None


def test_a_used_up_quota_is_not_a_rate_limit_that_passes() -> None:
    error = from_openai(status(429, {"retry-after": "1"}, code="insufficient_quota"))
    assert (error.kind, error.retry_after) == (ErrorKind.TARGET, None)
    in_the_stream = from_error_chunk(chunk_error({"code": "insufficient_quota"}))
    assert in_the_stream.kind is ErrorKind.TARGET


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


@pytest.mark.parametrize(
    ("code", "turned_away"),
    [(429, True), (502, True), (503, True), (529, True), (500, False), (504, False), (400, False)],
)
def test_who_was_turned_away_may_wait_for_nothing(code: int, turned_away: bool) -> None:
    """Batch jobs wait an outage out; what may be the request's own doing must come to an end."""
    assert from_openai(status(code)).turned_away is turned_away


def test_a_used_up_quota_is_no_load_that_passes() -> None:
    assert not from_openai(status(429, code="insufficient_quota")).turned_away
