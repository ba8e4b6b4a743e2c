"""Which pages may call: cross-origin requests (CORS) of browsers, and the origins of sockets.

Browsers let a page read the answers of another origin only where that origin says so
(https://fetch.spec.whatwg.org/#http-cors-protocol). Nothing here lets anybody in: who calls is
decided by the key or token, which a page has to have. There are no cookies, so that credentials in
the sense of CORS are never allowed.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import hdrs, web
from pydantic import Field, field_validator

from tidegate.chassis.settings import ServiceSettings
from tidegate.contracts.errors import PermissionDenied

ANY: Final = "*"

# What a page under development is served from.
_LOOPBACK_HOST: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.I)
_LOOPBACK: Final = re.compile(rf"https?://{_LOOPBACK_HOST.pattern}")
_ORIGIN: Final = re.compile(r"https?://[^/\s,*?#@]+")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Seconds that a browser need not ask again; browsers have their own bounds below and above.
_REMEMBERED: Final = "600"
# Headers that a page may read, beyond those that it always may.
_READABLE: Final[dict[str, str]] = {
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: ", ".join(
        (
            "Location",
            "Retry-After",
            "x-request-id",
            "x-should-retry",
            "x-tidegate-cache",
            "x-tidegate-cache-age",
            "x-tidegate-cache-score",
            "x-tidegate-job",
        )
    )
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CorsSettings(ServiceSettings):
    """Which pages may call."""

    cors_origins: str = Field(
        "",
        description=(
            "Comma-separated origins (https://app.example.com) whose pages may call, over HTTP, "
            "SSE and WebSocket alike; `*`: those of any. Who is no browser is not asked. Empty: no "
            "page may, but for those on loopback while TIDEGATE_DEVELOPMENT is on."
        ),
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        wrong = [name for name in _names(value) if name != ANY and not _ORIGIN.fullmatch(name)]
        if wrong:
            raise ValueError("expected origins, as in https://app.example.com, without a path")
        return value


class Origins:
    """The origins whose pages may call. `development`: those on loopback too."""

    def __init__(self, names: Iterable[str] = (), *, development: bool = False) -> None:
        self._names = frozenset(names)
        self._development = development

    @classmethod
    def of(cls, settings: CorsSettings, *, development: bool) -> "Origins":
        """Those of the settings."""
        return cls(_names(settings.cors_origins), development=development)

    @property
    def nobody(self) -> bool:
        """Whether no page may call."""
        return not self._names and not self._development

    @property
    def anybody(self) -> bool:
        """Whether every page may call."""
        return ANY in self._names

    def allow(self, origin: str) -> bool:
        """Whether pages of this `Origin` may call; `null` (of files and sandboxes) only for `*`."""
        if self.anybody or origin in self._names:
            return True
        return self._development and _LOOPBACK.fullmatch(origin) is not None

    def check_host(self, host: str) -> None:
        """Raises PermissionDenied for a request that came, in development, under a foreign name.

        A page can have its own name lead to 127.0.0.1 (DNS rebinding): to the browser that is no
        other origin, and the development key is known to everybody.
        """
        if self._development and host and not _LOOPBACK_HOST.fullmatch(host):
            raise PermissionDenied("in development, call localhost or 127.0.0.1", field="Host")


def install_cors(app: web.Application, origins: Origins) -> None:
    """Answer preflights, and mark every answer of `app`, errors and streams included.

    To be called before `install_http_errors`, which then surrounds it.
    """
    if origins.nobody:
        return

    @web.middleware
    async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
        origins.check_host(request.headers.get(hdrs.HOST, ""))
        methods = _methods_asked_for(request)
        if not methods:
            return await handler(request)
        if not origins.allow(request.headers[hdrs.ORIGIN]):
            raise PermissionDenied("pages of this Origin may not call", field="Origin")
        return web.Response(status=204, headers=_permission(request, methods))

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_marks(request.headers.get(hdrs.ORIGIN), origins))

    app.middlewares.append(answer)
    app.on_response_prepare.append(mark)


def _methods_asked_for(request: web.Request) -> frozenset[str]:
    """What the path of a preflight takes; empty for what is no preflight, or no path of ours."""
    asks = hdrs.ORIGIN in request.headers and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    refused = request.match_info.http_exception
    if request.method != hdrs.METH_OPTIONS or not asks:
        return frozenset()
    if not isinstance(refused, web.HTTPMethodNotAllowed):
        return frozenset()
    return frozenset(refused.allowed_methods)


def _permission(request: web.Request, methods: Iterable[str]) -> dict[str, str]:
    """What a preflight is answered. Any header may be sent: none of them is a secret of ours."""
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "").split(",")
    names = [name.strip() for name in asked]
    headers: dict[str, str] = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(methods)),
        hdrs.ACCESS_CONTROL_MAX_AGE: _REMEMBERED,
    }
    if sent := ", ".join(name for name in names if _HEADER_NAME.fullmatch(name)):
        # By name, for `*` would leave Authorization out.
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = sent
    return headers


def _marks(origin: str | None, origins: Origins) -> dict[str, str]:
    """The headers of any answer to a request from `origin`."""
    if origins.anybody:
        return {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: ANY, **_READABLE}
    # Else a cache could hand one page's answer to another.
    marks: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN}
    if origin is not None and origins.allow(origin):
        marks |= {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, **_READABLE}
    return marks


def _names(text: str) -> list[str]:
    """As browsers write them: in lower case."""
    return [name.strip().rstrip("/").lower() for name in text.split(",") if name.strip()]
