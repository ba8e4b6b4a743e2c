"""Which handshakes may become sockets, but for their keys. Decides on values; no I/O."""

from collections.abc import Sequence
from http import HTTPStatus
from re import Pattern
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tidegate.chassis.http_errors import error_body, error_headers, no_such_path
from tidegate.chassis.http_request import check_query, only_value
from tidegate.contracts.errors import PermissionDenied, TidegateError

PATH: Final = "/v1/ws"


def check_handshake(request: Request, origins: Sequence[str | Pattern[str] | None]) -> str:
    """The `Authorization` header of a handshake, empty where there is none.

    `origins`: what `Origin` may be, None for clients that send none.

    Raises:
        NotFound: another path than the socket's.
        InvalidRequest: a parameter in the URL, or a header twice.
        PermissionDenied: a page of another origin asks.
    """
    path, _, query = request.path.partition("?")
    if path != PATH:
        raise no_such_path(f"; the WebSocket is at {PATH}")
    check_query(parse_qsl(query, keep_blank_values=True))
    origin = only_value("Origin", request.headers.get_all("Origin"))
    if not any(_fits(origin, each) for each in origins):
        raise PermissionDenied("pages of this Origin may not open a socket", field="Origin")
    return only_value("Authorization", request.headers.get_all("Authorization")) or ""


def refusal(problem: TidegateError) -> Response:
    """The answer to a handshake that is refused, with the body of every HTTP error."""
    status = HTTPStatus(problem.http_status)
    body = msgspec.json.encode(error_body(problem))
    headers = Headers(error_headers(problem))
    headers["Connection"] = "close"
    headers["Content-Type"] = "application/json; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(status.value, status.phrase, headers, body)


def _fits(origin: str | None, allowed: str | Pattern[str] | None) -> bool:
    if isinstance(allowed, Pattern):
        return origin is not None and allowed.fullmatch(origin) is not None
    return origin == allowed
