"""The API server as its administrator sees it, and what became of objects, change by change.

async with Admin(cluster.kubeconfig) as admin, admin.history(DEPLOYMENTS, namespace) as history:
    ...
    assert history.replicas("chat") == [0, 3]
"""

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
import yaml

from tidegate_operator.paths import Resource

Object = dict[str, Any]
_UNENDING: Final = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True, slots=True)
class Change:
    """An object as it was from `at` on, in seconds of the monotonic clock; `gone`: no more."""

    at: float
    body: Object
    gone: bool = False

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


@dataclass(slots=True)
class History:
    """All objects of a kind since one began to look, those that there were first."""

    changes: list[Change] = field(default_factory=list)

    def of(self, name: str) -> list[Change]:
        """What became of one object."""
        return [change for change in self.changes if change.name == name]

    def replicas(self, name: str) -> list[int]:
        """What one asked for, each number once until it was another."""
        found = [int(change.body["spec"].get("replicas", 1)) for change in self.of(name)]
        pairs = zip([None, *found], found, strict=False)
        return [after for before, after in pairs if before != after]


class Admin:
    """An async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text("utf-8"))
        cluster = found["clusters"][0]["cluster"]
        self._url = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trusted = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {found['users'][0]['user']['token']}"}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._trusted)
        self._session = aiohttp.ClientSession(self._url, headers=self._headers, connector=connector)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def list(self, resource: Resource, namespace: str) -> Object:
        """All objects of a kind, as the API tells them."""
        async with self._session.get(resource.path(namespace)) as response:
            found: Object = msgspec.json.decode(await response.read())
        return found

    async def follow(self, resource: Resource, namespace: str, since: str) -> AsyncIterator[Change]:
        """Every change after a resource version."""
        query = {"watch": "true", "resourceVersion": since}
        path = resource.path(namespace)
        async with self._session.get(path, params=query, timeout=_UNENDING) as response:
            async for line in _lines(response.content):
                event = msgspec.json.decode(line)
                yield Change(time.monotonic(), event["object"], gone=event["type"] == "DELETED")

    @asynccontextmanager
    async def history(self, resource: Resource, namespace: str) -> AsyncIterator[History]:
        """What becomes of all objects of a kind from now on."""
        found = await self.list(resource, namespace)
        now = time.monotonic()
        history = History([Change(now, body) for body in found["items"]])

        async def follow() -> None:
            since = found["metadata"]["resourceVersion"]
            async for change in self.follow(resource, namespace, since):
                history.changes.append(change)

        following = asyncio.create_task(follow())
        try:
            yield history
            if following.done():
                following.result()
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, aiohttp.ClientError):
                await following


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
