"""The error taxonomy as gRPC statuses, out of servers and into clients.

Every error carries exactly one `ErrorInfo` (the reason, domain `tidegate`), and `RetryInfo`,
`BadRequest` or `QuotaFailure` where they fit, in `grpc-status-details-bin` as google.rpc.Status.
"""

from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    QuotaFailure,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from tidegate.contracts.errors import (
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    Reason,
    RequestIdConflict,
    RequestTooLarge,
    ResourceExhausted,
    TidegateError,
    Unauthenticated,
    Unavailable,
)

DOMAIN = "tidegate"
DETAILS_KEY = "grpc-status-details-bin"

MessageT = TypeVar("MessageT", bound=Message)

_BY_REASON: dict[str, type[TidegateError]] = {
    kind.default_reason: kind for kind in (MethodNotAllowed, RequestTooLarge, RequestIdConflict)
}
_BY_CODE: dict[str, type[TidegateError]] = {
    kind.grpc_code: kind
    for kind in (
        InvalidRequest,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
    )
}
# A call that never came to an answer: whether it was acted upon is not known.
_NO_ANSWER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


def to_status(error: TidegateError) -> Status:
    """`error` as google.rpc.Status with its details."""
    status = Status(code=_code(error).value[0], message=error.message)
    for detail in _details(error):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: TidegateError) -> NoReturn:
    """End the call with `error`."""
    status = to_status(error)
    await context.abort(_code(error), status.message, ((DETAILS_KEY, status.SerializeToString()),))


def from_rpc_error(error: grpc.aio.AioRpcError) -> TidegateError:
    """What a failed call to another Tidegate service means; raise it `from` the original.

    An error without our `ErrorInfo` becomes Unavailable where no answer came, else InternalError.
    """
    status = _status_of(error)
    info = _detail(status, ErrorInfo()) if status is not None else None
    if status is None or info is None or info.domain != DOMAIN:
        if error.code() in _NO_ANSWER:
            return Unavailable("Another service of the platform cannot be reached.")
        return InternalError(f"Another service of the platform answered {error.code().name}.")
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(error.code().name, InternalError)
    retry = _detail(status, RetryInfo())
    bad = _detail(status, BadRequest())
    return kind(
        status.message,
        reason=_reason(info.reason),
        field=bad.field_violations[0].field if bad and bad.field_violations else None,
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry else None,
        job_id=info.metadata.get("job_id"),
    )


def _code(error: TidegateError) -> grpc.StatusCode:
    return grpc.StatusCode[error.grpc_code]


def _details(error: TidegateError) -> Iterator[Message]:
    metadata = {"job_id": error.job_id} if error.job_id else {}
    yield ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=metadata)
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        yield RetryInfo(retry_delay=delay)
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=error.field, description=error.message)
        yield BadRequest(field_violations=[violation])
    if isinstance(error, ResourceExhausted):
        bound = QuotaFailure.Violation(subject=error.reason.value, description=error.message)
        yield QuotaFailure(violations=[bound])


def _status_of(error: grpc.aio.AioRpcError) -> Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _detail(status: Status, into: MessageT) -> MessageT | None:
    return next((into for packed in status.details if packed.Unpack(into)), None)


def _reason(name: str) -> Reason | None:
    """None, and so the class's own, for a reason that only a newer release knows."""
    return Reason(name) if name in Reason.__members__ else None
