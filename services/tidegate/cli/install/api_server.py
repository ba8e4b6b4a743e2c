"""The Kubernetes API, as far as an installation needs it: one Secret, and who owns it.

The requests are those of https://kubernetes.io/docs/reference/kubernetes-api/ (core v1). A library
would be ten times the code that it saves: there are four requests.
"""

import ssl
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tidegate.cli.install.settings import PodSettings

_TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_FORBIDDEN: Final = 403


class ApiServerError(Exception):
    """What the API server answered, or that it did not; the text is for a person."""


class ConflictError(ApiServerError):
    """Somebody else has written meanwhile: read again."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it was read; `version` is what a write must find unchanged."""

    name: str
    version: str
    data: dict[str, bytes]


class ApiServer:
    """An async context manager around one session, in the pod's own namespace."""

    def __init__(self, settings: PodSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        try:
            token, self._namespace = self._settings.read("token"), self._settings.read("namespace")
            authority = ssl.create_default_context(
                cafile=str(self._settings.service_account_directory / "ca.crt")
            )
        except OSError as error:
            raise ApiServerError(
                f"{error.filename}: {error.strerror}: this runs in a pod whose service account's "
                "token is mounted"
            ) from error
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=authority),
            timeout=_TIMEOUT,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def secret(self, name: str) -> Secret | None:
        """The Secret, or None where there is none. Raises ApiServerError."""
        found = await self._call("GET", f"secrets/{name}", or_none=True)
        if found is None:
            return None
        data = {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
        return Secret(name, found["metadata"]["resourceVersion"], data)

    async def config_map_uid(self, name: str) -> str:
        """The identity of a ConfigMap. Raises ApiServerError."""
        found = await self._call("GET", f"configmaps/{name}")
        assert found is not None  # noqa: S101
        return str(found["metadata"]["uid"])

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, owner: tuple[str, str] | None
    ) -> None:
        """Makes a Secret. It goes when the ConfigMap goes whose name and identity are `owner`.

        Raises ConflictError where there is one by now, and ApiServerError.
        """
        metadata: dict[str, Any] = {"name": name}
        if owner is not None:
            reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner[0], "uid": owner[1]}
            metadata["ownerReferences"] = [reference]
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _encoded(data)}
        await self._call("POST", "secrets", body)

    async def add_to_secret(self, secret: Secret, data: Mapping[str, bytes]) -> None:
        """Adds to a Secret. Raises ConflictError where it has changed since, and ApiServerError."""
        body = {"metadata": {"resourceVersion": secret.version}, "data": _encoded(data)}
        await self._call("PATCH", f"secrets/{secret.name}", body)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, or_none: bool = False
    ) -> dict[str, Any] | None:
        url = f"{self._settings.url}/api/v1/namespaces/{self._namespace}/{path}"
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind}
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                if response.status == _NOT_FOUND and or_none:
                    return None
                answer: dict[str, Any] = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiServerError(
                f"the API server at {self._settings.url} does not answer: {error}"
            ) from error
        if response.ok:
            return answer
        raise _refusal(response.status, str(answer.get("message", "")), method, path)


def _refusal(status: int, message: str, method: str, path: str) -> ApiServerError:
    if status == _CONFLICT:
        return ConflictError(message)
    if status == _FORBIDDEN:
        return ApiServerError(
            f"the service account of this pod may not {method} {path}; the chart's Role allows it: "
            f"{message}"
        )
    return ApiServerError(f"{method} {path}: {status} {message}")


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {name: b64encode(value).decode() for name, value in data.items()}
