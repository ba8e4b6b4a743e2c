"""A door before the API server, with a certificate of its own, that a test can keep shut.

    async with ApiDoor(world.environ, tmp_path) as door:
        operator = await world.leader(**door.environ)
        door.answers = lambda request: 429 if request.is_write else None
        door.holds = lambda request: request.is_write and "/deployments/" in request.path

Requests pass as they are, with the caller's token: rights and preconditions stay the server's. It
answers some by itself, as a busy server or a load balancer does, and keeps some back, as a network
does; what was kept back is sent by `release`.
"""

import asyncio
import shutil
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import aiohttp
from aiohttp import web

from tests.support.certificate import certify

_UNENDING: Final = aiohttp.ClientTimeout(total=None)
_OF_CONNECTION: Final = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    path: str

    @property
    def is_write(self) -> bool:
        return self.method != "GET"


class ApiDoor:
    """`environ` is that of an operator which would come without the door."""

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self._host = environ["KUBERNETES_SERVICE_HOST"]
        self._target = f"https://{self._host}:{environ['KUBERNETES_SERVICE_PORT']}"
        self._account = Path(environ["SERVICE_ACCOUNT_DIRECTORY"])
        self._directory = directory / "door"
        self._open = asyncio.Event()
        self._open.set()
        self.answers: Callable[[Asked], int | None] = lambda _: None
        self.holds: Callable[[Asked], bool] = lambda _: False
        self.held: list[Asked] = []
        # What was let through, with the server's answer.
        self.passed: list[tuple[Asked, int]] = []
        self.answered: list[tuple[Asked, int]] = []

    async def __aenter__(self) -> Self:
        shutil.copytree(self._account, self._directory)
        key, certificate = self._directory / "door.key", self._directory / "ca.crt"
        await asyncio.to_thread(certify, key, certificate)
        trusted = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        connector = aiohttp.TCPConnector(ssl=trusted, limit=0)
        self._session = aiohttp.ClientSession(self._target, connector=connector, timeout=_UNENDING)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = self._runner.addresses[0][1]
        self.environ = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(port),
            "SERVICE_ACCOUNT_DIRECTORY": str(self._directory),
        }
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()
        await self._runner.cleanup()
        await self._session.close()

    def hold(self, holds: Callable[[Asked], bool]) -> None:
        """Keeps back what this is true of."""
        self._open.clear()
        self.holds = holds

    def release(self) -> None:
        """Sends what was kept back, and keeps back nothing more."""
        self.holds = lambda _: False
        self._open.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path)
        body = await request.read()
        status = self.answers(asked)
        if status is not None:
            self.answered.append((asked, status))
            headers = {"Retry-After": "1"} if status == 429 else {}
            return web.json_response(
                {"message": "the door is shut"}, status=status, headers=headers
            )
        if self.holds(asked):
            self.held.append(asked)
            await self._open.wait()
        return await self._pass(request, asked, body)

    async def _pass(self, request: web.Request, asked: Asked, body: bytes) -> web.StreamResponse:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _OF_CONNECTION
        }
        async with self._session.request(
            request.method, request.rel_url, data=body or None, headers=headers
        ) as found:
            self.passed.append((asked, found.status))
            response = web.StreamResponse(status=found.status)
            response.content_type = found.content_type
            await response.prepare(request)
            async for chunk in found.content.iter_any():
                await response.write(chunk)
        await response.write_eof()
        return response
