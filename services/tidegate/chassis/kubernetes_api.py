"""The Kubernetes API over HTTP: the few requests that are made of it, with their preconditions.

https://kubernetes.io/docs/reference/using-api/api-concepts/ describes them: what a write must find
unchanged is the `resourceVersion` in its body, and a server-side apply owns what it names. The
client libraries there are cost 60 MB and a second to import for these six requests.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import PodSettings

Object = dict[str, Any]
# Hears of each answer: the method, and the status, 0 where there was none.
Heard = Callable[[str, int], object]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_TOO_MANY: Final = 429
_PAGE: Final = 250
# Who is told to come back later does so, a few times, and after no more than so many seconds each.
_TRIES: Final = 4
_LONGEST_PAUSE: Final = 10.0
# Tokens are replaced in their file long before they run out.
_TOKEN_SECONDS: Final = 60.0

# Marks what stands for an answer that is no object; no field of Kubernetes has such a name.
_UNREADABLE: Final = "(unreadable)"

MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
_APPLY: Final = "application/apply-patch+yaml"


class ApiServerError(Exception):
    """What the API server answered, or that it did not; the text is for a person.

    `status` is HTTP's; 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ConflictError(ApiServerError):
    """Somebody else has written meanwhile, or made what was to be made: read again."""


class GoneError(ApiServerError):
    """What was to be written is not there."""


class KubernetesApi:
    """A component, and an async context manager: one session with the pod's service account.

    Paths are those of the API, such as `/api/v1/namespaces/x/pods/y`.
    """

    name = "kubernetes"

    def __init__(self, settings: PodSettings, heard: Heard = lambda _method, _status: None) -> None:
        self._settings = settings
        self._heard = heard
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_read_at = float("-inf")
        self.namespace = ""

    async def start(self) -> None:
        """Raises ApiServerError where this is no pod, or one without its token."""
        try:
            self.namespace = self._settings.read("namespace")
            self._settings.read("token")
            authority = ssl.create_default_context(cafile=str(self._settings.authority))
        except OSError as error:
            raise ApiServerError(
                f"{error.filename}: {error.strerror}: this runs in a pod whose service account's "
                "token is mounted"
            ) from error
        connector = aiohttp.TCPConnector(ssl=authority, limit=32)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)

    async def stop(self, deadline: Deadline | None = None) -> None:
        """Closes the connections."""
        del deadline
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> "KubernetesApi":
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def get(self, path: str) -> Object | None:
        """The object, or None where there is none. Raises ApiServerError."""
        try:
            return await self.call("GET", path)
        except GoneError:
            return None

    async def pages(self, path: str, selector: str = "") -> AsyncIterator[list[Object]]:
        """All objects of a kind, or those with these labels, a few hundred at a time.

        Raises ApiServerError.
        """
        query = {"limit": str(_PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.call("GET", path, query=query)
            yield page.get("items") or []
            going_on = (page.get("metadata") or {}).get("continue")
            if not going_on:
                return
            query["continue"] = going_on

    async def create(self, path: str, body: Object) -> Object:
        """Makes an object. Raises ConflictError where it is there already, and ApiServerError."""
        return await self.call("POST", path, body)

    async def replace(self, path: str, body: Object) -> Object:
        """Raises ConflictError where it is not the version of `body`, GoneError, ApiServerError."""
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: Any, kind: str = MERGE, *, manager: str = "") -> Object:
        """Changes an object by a patch of a `kind`. Raises as `replace`."""
        return await self.call("PATCH", path, body, kind=kind, query=_managed(manager))

    async def apply(self, path: str, body: Object, *, manager: str, force: bool = True) -> Object:
        """A server-side apply, of all that `manager` has to say of an object.

        Without `force` a field that somebody else has set otherwise is a conflict. Raises as
        `replace`.
        """
        query = _managed(manager) | {"force": "true" if force else "false"}
        return await self.call("PATCH", path, body, kind=_APPLY, query=query)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One request, made again where the server says that it is too busy.

        Raises:
            ConflictError, GoneError, ApiServerError: as their docstrings say.
        """
        payload = None if body is None else msgspec.json.encode(body)
        tries = 1
        status, answer, pause = await self._once(method, path, payload, kind, query)
        while status == _TOO_MANY and tries < _TRIES:
            await asyncio.sleep(pause)
            tries += 1
            status, answer, pause = await self._once(method, path, payload, kind, query)
        if status >= 400:
            raise _refusal(status, str(answer.get("message", "")), method, path)
        if _UNREADABLE in answer:
            raise ApiServerError(f"{method} {path}: no object: {answer['message']}")
        return answer

    async def _once(
        self,
        method: str,
        path: str,
        payload: bytes | None,
        kind: str,
        query: Mapping[str, str] | None,
    ) -> tuple[int, Object, float]:
        if self._session is None:
            raise ApiServerError("not connected to the API server")
        headers = {"Authorization": f"Bearer {self._read_token()}"}
        if payload is not None:
            headers["Content-Type"] = kind
        url = f"{self._settings.url}{path}"
        try:
            async with self._session.request(
                method, url, data=payload, headers=headers, params=query
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._heard(method, 0)
            why = str(error) or type(error).__name__
            raise ApiServerError(
                f"the API server at {self._settings.url} does not answer: {why}"
            ) from error
        self._heard(method, response.status)
        return response.status, _decoded(answer), _pause(response.headers)

    def _read_token(self) -> str:
        now = asyncio.get_running_loop().time()
        if now - self._token_read_at >= _TOKEN_SECONDS:
            try:
                self._token = self._settings.read("token")
            except OSError as error:
                raise ApiServerError(f"{error.filename}: {error.strerror}") from error
            self._token_read_at = now
        return self._token


def _managed(manager: str) -> dict[str, str]:
    return {"fieldManager": manager} if manager else {}


def _decoded(answer: bytes) -> Object:
    """An object, always: what is none is the message of one that says so."""
    try:
        decoded: Object = msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        # What stands between, such as a load balancer, speaks in words of its own.
        return {"message": answer[:200].decode("utf-8", "replace"), _UNREADABLE: True}
    return decoded


def _pause(headers: Mapping[str, str]) -> float:
    given = headers.get("Retry-After", "")
    return min(float(given), _LONGEST_PAUSE) if given.isascii() and given.isdigit() else 1.0


def _refusal(status: int, message: str, method: str, path: str) -> ApiServerError:
    if status == _FORBIDDEN:
        message = f"{message}; the chart's rights allow it to this pod's service account"
    text = f"{method} {path}: {status} {message}"
    if status == _CONFLICT:
        return ConflictError(text, status)
    if status == _NOT_FOUND:
        return GoneError(text, status)
    return ApiServerError(text, status)
