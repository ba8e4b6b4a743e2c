"""What every HTTP request passes first: who calls, a query that is obeyed, a body that ends."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from tidegate.chassis.http_request import check_query, only_value
from tidegate.chassis.keyring import Caller, Keyring
from tidegate.contracts.errors import InvalidRequest
from tidegate.gateway.creation import too_large
from tidegate.gateway.request_body import read_body

_YES_OR_NO: Final = {"true": True, "false": False}
_MAY_BE_JSON: Final = re.compile("json|octet-stream", re.IGNORECASE)


class Entrance:
    """`body_bound` gives the bytes that a body may have, `body_seconds` bounds its arrival."""

    def __init__(
        self, keyring: Keyring, *, body_bound: Callable[[], int], body_seconds: float
    ) -> None:
        self._keyring = keyring
        self._body_bound = body_bound
        self._body_seconds = body_seconds

    def admit(
        self, request: web.Request, *, offered: tuple[str, ...] = ()
    ) -> tuple[Caller, dict[str, str]]:
        """Who calls, and the query.

        Raises:
            Unauthenticated: no key, or one that is not known.
            PermissionDenied: a browser's token, which may do less.
            InvalidRequest: a parameter that is not `offered`.
        """
        query = check_query(request.query.items(), offered=offered)
        return self._keyring.authenticate(header(request, "Authorization")), query

    def admit_reader(self, request: web.Request) -> Caller:
        """Who calls, with a key, or with a token where reading and cancelling is all there is.

        Raises:
            Unauthenticated, InvalidRequest: as `admit`.
        """
        check_query(request.query.items())
        return self._keyring.authenticate_reader(header(request, "Authorization"))

    async def read_body(self, request: web.Request) -> bytes:
        """The body, whole.

        Raises:
            RequestTooLarge: it is over the bound, which is named.
            InvalidRequest: it did not arrive in time.
        """
        bound = self._body_bound()
        if (request.content_length or 0) > bound:
            raise too_large(bound)
        chunks = request.content.iter_any()
        return await read_body(chunks, bound=bound, seconds=self._body_seconds)

    async def read_json_body(self, request: web.Request) -> bytes:
        """As `read_body`, of a request that does not say that its body is something else than JSON.

        Bytes of no known kind are what some clients call everything.

        Raises:
            InvalidRequest: the content type is not JSON's, or as `read_body`.
        """
        kind = request.headers.get("Content-Type", "")
        if kind and not _MAY_BE_JSON.search(kind):
            raise InvalidRequest(
                "the body must be JSON: send 'Content-Type: application/json'",
                field="Content-Type",
            )
        return await self.read_body(request)


def header(request: web.Request, name: str) -> str | None:
    """The value of a header that a request may have once.

    Raises:
        InvalidRequest: it has several.
    """
    return only_value(name, request.headers.getall(name, []))


def page_size_in(query: Mapping[str, str]) -> int:
    """The `page_size` of a query, 0 where there is none.

    Raises:
        InvalidRequest: it is not a number.
    """
    text = query.get("page_size", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InvalidRequest("page_size must be a number", field="page_size")
    return int(text)


def yes_or_no_in(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter of a query is `true`; it is not where there is none.

    Raises:
        InvalidRequest: it is neither `true` nor `false`.
    """
    said = _YES_OR_NO.get(query.get(name, "false"))
    if said is None:
        raise InvalidRequest(f"{name} must be true or false", field=name)
    return said
