"""The error taxonomy as HTTP answers, in the body that OpenAI's clients understand.

`install_http_errors(app, ...)` makes every answer of an aiohttp application that is an error one of
these, unknown routes, bodies over the bound and unforeseen exceptions included.
"""

import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web
from opentelemetry.trace import SpanKind

from tidegate.chassis.incidents import incident
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.tracing import Tracing, extract
from tidegate.contracts.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Reason,
    RequestTooLarge,
    TidegateError,
)
from tidegate.contracts.json_body import decode_body

REQUEST_ID = web.RequestKey("request_id", str)
_PREPARED = web.RequestKey("prepared", bool)

_LONGEST_RETRY_AFTER = 59  # seconds; clients ignore a minute and more
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

T = TypeVar("T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_body(error: TidegateError) -> dict[str, dict[str, str | None]]:
    """`{"error": {message, type, param, code}}`; the code is the reason in lower case."""
    return _body(error.http_status, error.message, error.field, error.reason.value.lower())


def error_headers(error: TidegateError) -> dict[str, str]:
    """Retry-After (1 to 59 whole seconds), x-should-retry and the job's id, where they fit."""
    headers = _retry_header(error.http_status)
    if error.retry_after is not None:
        seconds = min(max(math.ceil(error.retry_after), 1), _LONGEST_RETRY_AFTER)
        headers["Retry-After"] = str(seconds)
    if error.job_id:
        headers["x-tidegate-job"] = error.job_id
    return headers


def error_response(error: TidegateError) -> web.Response:
    """`error` as a response of its own."""
    return _json(error.http_status, error_body(error), error_headers(error))


async def read_json(request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The request's body as `decoder` has it.

    Raises InvalidRequest, with the field where there is one, and RequestTooLarge.
    """
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(request) from error
    return decode_body(decoder, body)


def install_http_errors(app: web.Application, metrics: ChassisMetrics, tracing: Tracing) -> None:
    """Give `app` the error answers, `x-request-id` on every answer, a span and a duration."""

    @web.middleware
    async def around(request: web.Request, handler: _Handler) -> web.StreamResponse:
        asked = request.headers.get("x-request-id", "")
        proper = _REQUEST_ID_FORM.fullmatch(asked)
        request[REQUEST_ID] = asked if proper else secrets.token_hex(12)
        route = _route_of(request)
        began = time.perf_counter()
        status = 499  # the client went away, in nginx's numbering
        try:
            with (
                structlog.contextvars.bound_contextvars(request_id=request[REQUEST_ID]),
                tracing.span(
                    f"{request.method} {route}",
                    parent=extract(_trace_headers(request)),
                    kind=SpanKind.SERVER,
                ),
            ):
                response = await _answer(request, handler, metrics)
            status = response.status
            return response
        finally:
            seconds = time.perf_counter() - began
            metrics.http_seconds.labels(request.method, route, str(status)).observe(seconds)

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        request[_PREPARED] = True
        if REQUEST_ID in request:
            response.headers["x-request-id"] = request[REQUEST_ID]

    app.middlewares.insert(0, around)
    app.on_response_prepare.append(mark)


async def _answer(
    request: web.Request, handler: _Handler, metrics: ChassisMetrics
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        error: TidegateError = _too_large(request)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        return _refusal(refusal)
    except web.RequestPayloadError:
        error = InvalidRequest("the body is not what its Content-Encoding says")
    except TidegateError as known:
        error = known
    except ConnectionResetError:
        raise  # the client went while we wrote; aiohttp closes in silence
    except Exception as unforeseen:
        metrics.incidents.labels("http").inc()
        error = incident(_route_of(request), unforeseen)
    if request.get(_PREPARED, False):
        # A second answer cannot be sent: the client must see the cut, not an end.
        raise ConnectionResetError("the answer was cut after an error")
    return error_response(error)


def _too_large(request: web.Request) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {request.client_max_size} bytes.")


def no_such_path(hint: str = "") -> NotFound:
    """The refusal of a path that no route has; not to be taken for a job that is not there."""
    return NotFound(f"there is no such path{hint}", reason=Reason.ROUTE_NOT_FOUND)


def _refusal(refusal: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses: what is no route of ours in our words, the rest in its own."""
    if isinstance(refusal, web.HTTPNotFound):
        return error_response(no_such_path())
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        response = error_response(MethodNotAllowed(f"this path takes {allowed} only"))
        response.headers["Allow"] = allowed
        return response
    code = re.sub(r"\W+", "_", refusal.reason.lower())
    body = _body(refusal.status, f"{refusal.reason}.", None, code)
    return _json(refusal.status, body, _retry_header(refusal.status))


def _body(
    status: int, message: str, param: str | None, code: str
) -> dict[str, dict[str, str | None]]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _retry_header(status: int) -> dict[str, str]:
    """Clients repeat 408, 409, 429 and 5xx unless they are told."""
    return {"x-should-retry": "false"} if status < 500 and status != 429 else {}


def _json(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _trace_headers(request: web.Request) -> dict[str, str]:
    return {
        name: request.headers[name]
        for name in ("traceparent", "tracestate")
        if name in request.headers
    }
