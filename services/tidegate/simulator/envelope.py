"""What every answer of the API shares: a request id, and OpenAI's shape for whatever goes wrong."""

import secrets
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from tidegate.simulator.errors import ProviderError

_log = structlog.stdlib.get_logger("tidegate.simulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Give the request's own id back, or a new one; for `on_response_prepare`."""
    given = request.headers.get("x-request-id")
    response.headers["x-request-id"] = given or f"req_{secrets.token_hex(12)}"


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a body of OpenAI's shape; what is unexpected is logged and a 500."""
    try:
        return await handler(request)
    except ProviderError as error:
        return _response(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _response(ProviderError(error.status, _reason(request, error)))
    except ConnectionError:
        raise
    except Exception:
        _log.exception("unexpected error", path=request.path)
        return _response(ProviderError(500))


def _reason(request: web.Request, error: web.HTTPException) -> str | None:
    if error.status == 404:
        return f"Unknown request URL: {request.method} {request.path}"
    return error.reason


def _response(error: ProviderError) -> web.Response:
    return web.Response(
        status=error.status,
        body=error.body(),
        headers=error.headers(),
        content_type="application/json",
    )
