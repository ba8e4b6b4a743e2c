"""An aiohttp application as a component."""

import asyncio
import secrets

import structlog
from aiohttp import web
from typing_extensions import override

from tidegate.chassis.component import Deadline
from tidegate.chassis.http_errors import error_response
from tidegate.chassis.incidents import incident
from tidegate.chassis.settings import ListenAddress
from tidegate.chassis.tasks import ServiceFault
from tidegate.contracts.errors import InvalidRequest, TidegateError

_log = structlog.stdlib.get_logger(module=__name__)

# aiohttp waits twice: for handlers to end, then for those that it cancelled.
_SHARE_OF_DEADLINE = 0.45

# Connections that may wait to be accepted. The usual 128 overflows when a thousand clients come
# back at once, and then they wait for seconds.
_ACCEPT_BACKLOG = 4096

# How long a client may take over an answer that is sent whole: so many seconds, and one more for
# each so many bytes. Who reads nothing would hold it in memory for as long as it likes.
_SEND_SECONDS = 30.0
_SLOWEST_READER = 64 * 1024


class HttpServer:
    """Serves `app` on `listen`; `address` is the bound one, known after `start`.

    Handlers are cancelled when their client goes. On `stop` the listening socket closes first, the
    application's `on_shutdown` hooks run next, and handlers have somewhat less than half of what is
    left of the deadline before they are cancelled.
    """

    def __init__(self, name: str, app: web.Application, listen: ListenAddress) -> None:
        self.name = name
        self._listen = listen
        self._runner = _Runner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        self._address: ListenAddress | None = None

    @property
    def address(self) -> ListenAddress:
        """The address that is bound. Raises RuntimeError before `start`."""
        if self._address is None:
            raise RuntimeError(f"{self.name} is not listening")
        return self._address

    @property
    def app(self) -> web.Application:
        """What is served."""
        return self._runner.app

    async def start(self) -> None:
        """Bind and serve. Raises ServiceFault if the address cannot be bound."""
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, self._listen.host, self._listen.port, backlog=_ACCEPT_BACKLOG
        )
        try:
            await site.start()
        except OSError as error:
            raise cannot_listen(self.name, self._listen, error) from error
        self._address = self._listen.with_port(self._runner.addresses[0][1])
        _log.info("listening", server=self.name, address=str(self._address))

    async def stop(self, deadline: Deadline) -> None:
        """Close the door, let handlers end, cancel the rest."""
        self._runner.patience = deadline.remaining() * _SHARE_OF_DEADLINE
        await self._runner.cleanup()
        self._address = None


class _Runner(web.AppRunner):
    """Takes the time for handlers at the end, when it is known, and not at construction."""

    patience = 0.0

    @override
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            access_log=None,
        )

    @override
    async def shutdown(self) -> None:
        await super().shutdown()
        if self.server is not None:
            await self.server.shutdown(self.patience)


class _Server(web.Server):
    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """Answers what is no HTTP as we answer all errors, and waits for no client for ever.

    The library would quote, to the caller and into the log, what it could not read: a header that
    holds a key, a prompt where a length should stand.
    """

    @override
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        seconds = _SEND_SECONDS + (resp.content_length or 0) / _SLOWEST_READER
        try:
            async with asyncio.timeout(seconds):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            _log.info("cut off, for the answer was not read", path=request.path)
            if self.transport is not None:
                self.transport.abort()
            return resp, True

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was cut after an error")
        error: TidegateError = InvalidRequest(
            "the request is not HTTP that can be read: a line or header is malformed or too long, "
            "or there are too many headers"
        )
        if status >= 500:
            error = incident("connection", exc or RuntimeError(message))
        else:
            _log.debug("unreadable request", error=type(exc).__name__)
        response = error_response(error)
        response.headers["x-request-id"] = secrets.token_hex(12)
        response.force_close()
        return response


def cannot_listen(name: str, listen: ListenAddress, error: OSError) -> ServiceFault:
    """The fault for an address that cannot be bound, in words that name the cure."""
    why = error.strerror or type(error).__name__
    return ServiceFault(name, f"cannot listen on {listen} ({why}): is the port taken?")
