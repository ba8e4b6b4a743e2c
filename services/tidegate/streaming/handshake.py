"""Which handshakes may become sockets, but for their keys. Decides on values; no I/O.

A page cannot set headers on a WebSocket. Its token comes as one more subprotocol that it offers,
beside the one that the server selects, and so never stands in a URL.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tidegate.chassis.http_cors import Origins
from tidegate.chassis.http_errors import error_body, error_headers, no_such_path
from tidegate.chassis.http_request import check_query, only_value
from tidegate.chassis.tokens import is_token
from tidegate.contracts.errors import (
    InvalidRequest,
    PermissionDenied,
    TidegateError,
    Unauthenticated,
)

PATH: Final = "/v1/ws"
BEARER: Final = "tidegate.token."


def check_handshake(request: Request, origins: Origins) -> str:
    """What a handshake's `Authorization` header says, or would say; empty where there is nothing.

    Clients that are no browser send no `Origin`, and are not asked for one.

    Raises:
        NotFound: another path than the socket's.
        InvalidRequest: a parameter in the URL, or a header or credential twice.
        PermissionDenied: a page of another origin asks.
        Unauthenticated: the subprotocol that carries a token carries something else.
    """
    path, _, query = request.path.partition("?")
    if path != PATH:
        raise no_such_path(f"; the WebSocket is at {PATH}")
    check_query(parse_qsl(query, keep_blank_values=True))
    origin = only_value("Origin", request.headers.get_all("Origin"))
    if origin is not None and not origins.allow(origin):
        raise PermissionDenied("pages of this Origin may not open a socket", field="Origin")
    authorization = only_value("Authorization", request.headers.get_all("Authorization"))
    tokens = list(_tokens_in(request.headers.get_all("Sec-WebSocket-Protocol")))
    if len(tokens) + (authorization is not None) > 1:
        raise InvalidRequest("give one credential, in the header or as subprotocol")
    return f"Bearer {tokens[0]}" if tokens else authorization or ""


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


def _tokens_in(offers: Iterable[str]) -> Iterable[str]:
    for offer in ",".join(offers).split(","):
        name = offer.strip()
        if not name.startswith(BEARER):
            continue
        token = name.removeprefix(BEARER)
        if not is_token(token):
            raise Unauthenticated(
                f"the subprotocol {BEARER}… takes a token of POST /v1/tokens, and no key"
            )
        yield token
