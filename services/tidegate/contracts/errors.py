"""The one error taxonomy; every surface is a projection of it.

    TidegateError
    ├── InvalidRequest        INVALID_ARGUMENT     400
    │   ├── MethodNotAllowed  INVALID_ARGUMENT     405
    │   ├── RequestTooLarge   INVALID_ARGUMENT     413
    │   └── RequestIdConflict INVALID_ARGUMENT     422
    ├── Unauthenticated       UNAUTHENTICATED      401
    ├── PermissionDenied      PERMISSION_DENIED    403
    ├── NotFound              NOT_FOUND            404
    ├── FailedPrecondition    FAILED_PRECONDITION  422
    ├── ResourceExhausted     RESOURCE_EXHAUSTED   429
    ├── Unavailable           UNAVAILABLE          503
    └── InternalError         INTERNAL             500

Foreign errors are translated into these once, at the border where they appear, with the cause
chained. 409 is used nowhere: the stock OpenAI clients repeat it blindly.
"""

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Machine-readable causes, stable across releases, the same on every surface and in events."""

    # What a request was refused for.
    INVALID_REQUEST = "INVALID_REQUEST"
    UNSUPPORTED_FIELD = "UNSUPPORTED_FIELD"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    REQUEST_ID_CONFLICT = "REQUEST_ID_CONFLICT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    ROUTE_NOT_FOUND = "ROUTE_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    JOB_NOT_FINISHED = "JOB_NOT_FINISHED"
    JOB_DELETED = "JOB_DELETED"
    QUEUE_FULL = "QUEUE_FULL"
    TOO_MANY_JOBS_IN_FLIGHT = "TOO_MANY_JOBS_IN_FLIGHT"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    TOO_MANY_CALLS = "TOO_MANY_CALLS"
    SLOW_READER = "SLOW_READER"
    UNAVAILABLE = "UNAVAILABLE"
    CREATE_UNKNOWN = "CREATE_UNKNOWN"
    DRAINING = "DRAINING"
    DEAD_LETTER_NOT_FOUND = "DEAD_LETTER_NOT_FOUND"
    TOKENS_OFF = "TOKENS_OFF"
    CACHE_OFF = "CACHE_OFF"
    ANSWER_DIVERGED = "ANSWER_DIVERGED"
    INTERNAL = "INTERNAL"

    # What a job ended for.
    CANCELLED_BY_CALLER = "CANCELLED_BY_CALLER"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    ATTEMPTS_EXHAUSTED = "ATTEMPTS_EXHAUSTED"
    OUTPUT_TOO_LONG = "OUTPUT_TOO_LONG"
    JOB_UNREADABLE = "JOB_UNREADABLE"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_RATE_LIMITED = "PROVIDER_RATE_LIMITED"
    PROVIDER_TIMEOUT = "PROVIDER_TIMEOUT"
    PROVIDER_STREAM_CUT = "PROVIDER_STREAM_CUT"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_CREDENTIALS = "PROVIDER_CREDENTIALS"
    PROVIDER_MISCONFIGURED = "PROVIDER_MISCONFIGURED"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"


class TidegateError(Exception):
    """An error that may be shown to a caller.

    `message` is one sentence for a person and never holds prompt, answer or secret; `field` is the
    dotted path of the request field at fault; `retry_after` is seconds until a repeat makes sense;
    `job_id` names the job that a create of unknown outcome would have made, or one that is there.
    """

    grpc_code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        field: str | None = None,
        retry_after: float | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.field = field
        self.retry_after = retry_after
        self.job_id = job_id


class InvalidRequest(TidegateError):
    """The request can never succeed as it is."""

    grpc_code = "INVALID_ARGUMENT"
    http_status = 400
    default_reason = Reason.INVALID_REQUEST


class MethodNotAllowed(InvalidRequest):
    """The path takes other HTTP methods than this; only HTTP knows it."""

    http_status = 405
    default_reason = Reason.METHOD_NOT_ALLOWED


class RequestTooLarge(InvalidRequest):
    """The request is over a size bound; the message names the bound in bytes."""

    http_status = 413
    default_reason = Reason.REQUEST_TOO_LARGE


class RequestIdConflict(InvalidRequest):
    """The request id already belongs to a job with another body."""

    http_status = 422
    default_reason = Reason.REQUEST_ID_CONFLICT


class Unauthenticated(TidegateError):
    """No key, or one that is not known."""

    grpc_code = "UNAUTHENTICATED"
    http_status = 401
    default_reason = Reason.UNAUTHENTICATED


class PermissionDenied(TidegateError):
    """Who calls is known, or where a page comes from, and may not do this."""

    grpc_code = "PERMISSION_DENIED"
    http_status = 403
    default_reason = Reason.PERMISSION_DENIED


class NotFound(TidegateError):
    """No such thing for this tenant; another tenant's looks exactly the same."""

    grpc_code = "NOT_FOUND"
    http_status = 404
    default_reason = Reason.JOB_NOT_FOUND


class FailedPrecondition(TidegateError):
    """The job's state does not allow it."""

    grpc_code = "FAILED_PRECONDITION"
    http_status = 422
    default_reason = Reason.JOB_NOT_FINISHED


class ResourceExhausted(TidegateError):
    """A bound is reached; `retry_after` says when to come back."""

    grpc_code = "RESOURCE_EXHAUSTED"
    http_status = 429
    default_reason = Reason.QUEUE_FULL


class Unavailable(TidegateError):
    """The platform cannot answer now; nothing that was accepted is lost."""

    grpc_code = "UNAVAILABLE"
    http_status = 503
    default_reason = Reason.UNAVAILABLE


class InternalError(TidegateError):
    """A fault of ours; the message carries an incident id and nothing else."""
