"""Without these a client could not tell what to repeat, what to mend and when to come back."""

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    QuotaFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from tidegate.chassis.grpc_errors import DETAILS_KEY, from_rpc_error, to_status
from tidegate.chassis.http_errors import error_body, error_headers
from tidegate.contracts import errors
from tidegate.contracts.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    Reason,
    RequestTooLarge,
    ResourceExhausted,
    TidegateError,
    Unavailable,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TidegateError)
]


def over_the_wire(error: TidegateError, code: grpc.StatusCode | None = None) -> TidegateError:
    status = to_status(error)
    trailer = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return from_rpc_error(
        grpc.aio.AioRpcError(
            code or grpc.StatusCode[error.grpc_code],
            trailing_metadata=trailer,
            details=status.message,
        )
    )


def details_of(error: TidegateError) -> dict[str, Any]:
    found = {}
    for packed in to_status(error).details:
        for kind in (ErrorInfo, RetryInfo, BadRequest, QuotaFailure):
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_survives_grpc(kind: type[TidegateError]) -> None:
    sent = kind("A sentence.", field="a.b", retry_after=1.5, job_id="j1")
    received = over_the_wire(sent)
    if kind not in (TidegateError, InternalError):
        assert type(received) is kind
    for name in ("message", "reason", "field", "retry_after", "job_id"):
        assert getattr(received, name) == getattr(sent, name)


def test_one_error_info_and_only_the_details_that_fit() -> None:
    assert set(details_of(NotFound("No such job."))) == {"ErrorInfo"}
    full = details_of(ResourceExhausted("Full.", retry_after=2))
    assert set(full) == {"ErrorInfo", "RetryInfo", "QuotaFailure"}
    assert full["ErrorInfo"].domain == "tidegate"
    assert full["ErrorInfo"].reason == "QUEUE_FULL"
    assert full["RetryInfo"].retry_delay.seconds == 2
    bad = details_of(InvalidRequest("Too many.", field="messages"))
    assert bad["BadRequest"].field_violations[0].field == "messages"


def test_a_reason_of_a_newer_release_keeps_its_class() -> None:
    status = to_status(NotFound("Gone."))
    status.details[0].Pack(ErrorInfo(reason="NOT_INVENTED_YET", domain="tidegate"))
    trailer = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    received = from_rpc_error(
        grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, trailing_metadata=trailer)
    )
    assert isinstance(received, NotFound)


@pytest.mark.parametrize("trailer", [b"", b"\xff\xff", Status(code=14).SerializeToString()])
def test_an_error_that_is_not_ours_tells_nothing_it_should_not(trailer: bytes) -> None:
    metadata = grpc.aio.Metadata((DETAILS_KEY, trailer))
    lost = from_rpc_error(
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, trailing_metadata=metadata, details="ip")
    )
    assert isinstance(lost, Unavailable)
    broken = from_rpc_error(grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, details="secret"))
    assert isinstance(broken, InternalError)
    assert "secret" not in broken.message


def test_the_http_body_is_the_one_openai_clients_read() -> None:
    error = NotFound("No such model.", reason=Reason.MODEL_NOT_FOUND, field="model")
    assert error_body(error) == {
        "error": {
            "message": "No such model.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (7.1, "8"), (3600.0, "59")]
)
def test_retry_after_is_whole_and_below_a_minute(seconds: float, header: str) -> None:
    headers = error_headers(ResourceExhausted("Full.", retry_after=seconds))
    assert headers["Retry-After"] == header
    assert "x-should-retry" not in headers


def test_clients_are_told_not_to_repeat_what_cannot_succeed() -> None:
    assert error_headers(InvalidRequest("Bad."))["x-should-retry"] == "false"
    assert error_headers(RequestTooLarge("Big."))["x-should-retry"] == "false"
    assert "x-should-retry" not in error_headers(Unavailable("Down."))


def test_an_unknown_outcome_names_the_job() -> None:
    error = Unavailable("Unknown.", reason=Reason.CREATE_UNKNOWN, job_id="j1")
    assert error_headers(error)["x-tidegate-job"] == "j1"
