"""Stands between the operator and the API server, and keeps which rights were used.

    async with ApiRecorder(cluster, directory) as recorder:
        ... recorder.environ is for the operator's process
        recorder.used, recorder.refused      # {Right("get", "deployments"), ...}

What Kubernetes says of a change can be kept back, so that the operator decides on what is past.
"""

import asyncio
import json
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from aiohttp import web

from tests.bed.cluster import Cluster
from tests.support.certificate import certify
from tests.support.ports import free_port

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_FORBIDDEN: Final = 403
_CREATED: Final = 201
_CONFLICT: Final = 409
# Of a connection, not of what is said over it.
_HOPS: Final = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}


class Right(NamedTuple):
    """A verb of a resource, as a rule of RBAC has them; a part of one is `resource/part`."""

    verb: str
    resource: str


class ApiRecorder:
    """`account` is the folder with the service account's token and namespace."""

    def __init__(self, cluster: Cluster, account: Path, folder: Path) -> None:
        self.used: set[Right] = set()
        self.refused: set[Right] = set()
        # Answers that something was written to meanwhile.
        self.conflicts = 0
        # While it is not set, the watch says nothing.
        self.watching = asyncio.Event()
        self.watching.set()
        host, port = cluster.api_server
        self._upstream = f"https://{host}:{port}"
        self._port = free_port()
        self._account = account
        self._folder = folder

    async def __aenter__(self) -> Self:
        shutil.copytree(self._account, self._folder)
        trusted = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        key, certificate = self._folder / "key.pem", self._folder / "ca.crt"
        certify(key, certificate)
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(certificate, key)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=["Content-Type"],
        )
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=own).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.watching.set()
        await self._runner.cleanup()
        await self._session.close()

    @property
    def environ(self) -> dict[str, str]:
        """The settings of an operator that comes this way."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._port),
            "SERVICE_ACCOUNT_DIRECTORY": str(self._folder),
        }

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.path_qs}",
            data=body or None,
            headers=_passed_on(request.headers),
        ) as answer:
            whole = await answer.read() if answer.status == _FORBIDDEN else None
            self._keep(request, answer.status, (whole or b"").decode())
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
            # The operator may have ended meanwhile.
            with suppress(ConnectionError, aiohttp.ClientError):
                await response.prepare(request)
                async for part in _parts(answer, whole):
                    if "watch" in request.query:
                        await self.watching.wait()
                    await response.write(part)
                await response.write_eof()
            return response

    def _keep(self, request: web.Request, status: int, refusal: str) -> None:
        right = right_of(request.method, request.path, watch="watch" in request.query)
        if right is None:
            return
        if status == _FORBIDDEN:
            said = re.search(r"cannot (\w+) resource", refusal)
            self.refused.add(right._replace(verb=said[1] if said else right.verb))
            return
        self.conflicts += status == _CONFLICT
        self.used.add(right)
        if right.verb == "patch" and status == _CREATED:
            # An apply of what is not there makes it, and needs both rights.
            self.used.add(right._replace(verb="create"))


def right_of(method: str, path: str, *, watch: bool = False) -> Right | None:
    """What a request needs; None for one that is of no object, such as what versions there are."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    if not rest:
        return None
    resource, *more = rest
    name, part = ("".join(more[:1]), "".join(more[1:2]))
    verb = _VERBS.get(method) or ("watch" if watch else "get" if name else "list")
    return Right(verb, f"{resource}/{part}" if part else resource)


def rights_of(roles: list[dict[str, Any]]) -> set[Right]:
    """All rights that roles give."""
    rules = [rule for role in roles for rule in role["rules"]]
    return {
        Right(verb, resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def without(role: dict[str, Any], right: Right) -> dict[str, Any]:
    """The same role, one right less."""
    less = json.loads(json.dumps(role))
    rules = []
    for rule in less["rules"]:
        if right.resource in rule["resources"]:
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != right.verb]
        if rule["verbs"]:
            rules.append(rule)
    return {**less, "rules": rules}


async def _parts(answer: aiohttp.ClientResponse, whole: bytes | None) -> AsyncIterator[bytes]:
    if whole is not None:
        yield whole
        return
    async for part in answer.content.iter_any():
        yield part


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in headers.items() if name.lower() not in _HOPS}
