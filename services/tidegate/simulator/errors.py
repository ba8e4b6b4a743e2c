"""The errors that OpenAI's API answers with, as one exception and the few ways to make it.

These belong to the simulated provider, not to the platform's own taxonomy: a worker has to
translate them like any foreign provider's.
"""

import math
from typing import Final

import msgspec

_KINDS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "The request was refused"),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    403: ("permission_error", None, "The key may not do this"),
    404: ("invalid_request_error", None, "There is no such thing"),
    408: ("timeout", None, "The request timed out"),
    409: ("conflict_error", None, "The request conflicts with another"),
    413: ("invalid_request_error", "request_too_large", "The request body is too large"),
    429: ("requests", "rate_limit_exceeded", "The rate limit is reached"),
    503: ("service_unavailable", "overloaded", "The model is overloaded"),
}
_SERVER_ERROR: Final = ("server_error", None, "The server had an error")


class ProviderError(Exception):
    """An answer of OpenAI's error shape.

    `status` is the HTTP status, `param` the field at fault, `retry_after` seconds until a retry
    makes sense (None: the answer does not say).
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        known = _SERVER_ERROR if status >= 500 else _KINDS[400]
        self.kind, default_code, default_message = _KINDS.get(status, known)
        self.status = status
        self.message = message or default_message
        self.param = param
        self.code = code or default_code
        self.retry_after = retry_after
        super().__init__(self.message)

    def body(self) -> bytes:
        """`{"error": {message, type, param, code}}` as JSON."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": error})

    def headers(self) -> dict[str, str]:
        """`Retry-After` in whole seconds and OpenAI's exact `retry-after-ms`, where known."""
        if self.retry_after is None:
            return {}
        return {
            "Retry-After": str(math.ceil(self.retry_after)),
            "retry-after-ms": str(round(self.retry_after * 1000)),
        }


def bad_request(message: str, param: str | None = None) -> ProviderError:
    """A 400 that names the field at fault."""
    return ProviderError(400, message, param=param)


def unknown_model(model: str) -> ProviderError:
    """The 404 for a model that is not there."""
    return ProviderError(
        404, f"The model {model!r} does not exist", param="model", code="model_not_found"
    )
