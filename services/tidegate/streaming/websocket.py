"""The WebSocket surface: handshakes, the sockets of the process, and their end at a drain."""

import asyncio
import random
from typing import Final

import structlog
from typing_extensions import override
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tidegate.chassis.component import Deadline
from tidegate.chassis.http_cors import Origins
from tidegate.chassis.http_server import cannot_listen
from tidegate.chassis.keyring import Caller
from tidegate.chassis.settings import ListenAddress
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.transport import limit_unsent
from tidegate.contracts.errors import TidegateError
from tidegate.streaming import closing
from tidegate.streaming.feed import CHUNK_BYTES
from tidegate.streaming.handshake import check_handshake, refusal
from tidegate.streaming.socket import House, Socket

_log = structlog.stdlib.get_logger(module=__name__)

SUBPROTOCOL: Final = "tidegate.v1"

# A replay pauses above the first and goes on below the second.
_WRITE_LIMIT: Final = (CHUNK_BYTES, CHUNK_BYTES // 4)
_MOST_UNREAD_FRAMES: Final = 16
_KEY_CHECK_SECONDS: Final = 5.0
_KEY_CHECK_SLICE: Final = 500


class Connection(ServerConnection):
    """The library's connection, which tells its socket when the transport fills and empties."""

    caller: Caller | None = None
    authorization = ""
    socket: Socket | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        limit_unsent(transport)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        if self.socket is not None:
            self.socket.on_full()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self.socket is not None:
            self.socket.on_room()


class WebSocketServer:
    """A component. `address` is the bound one, known after `start`.

    `origins`: whose pages may open a socket. `ping_seconds`, `spread_seconds`: see the settings.
    """

    name = "websocket"

    def __init__(
        self,
        listen: ListenAddress,
        house: House,
        guard: TaskGuard,
        *,
        origins: Origins,
        max_sockets: int,
        max_frame_bytes: int,
        ping_seconds: float,
        spread_seconds: float,
    ) -> None:
        self._listen = listen
        self._house = house
        self._guard = guard
        self._origins = origins
        self._max_sockets = max_sockets
        self._max_frame_bytes = max_frame_bytes
        self._ping_seconds = ping_seconds
        self._spread_seconds = spread_seconds
        self._sockets: set[Socket] = set()
        self._draining = False
        self._server: Server | None = None
        self._address: ListenAddress | None = None

    @property
    def address(self) -> ListenAddress:
        """The address that is bound. Raises RuntimeError before `start`."""
        if self._address is None:
            raise RuntimeError(f"{self.name} is not listening")
        return self._address

    async def start(self) -> None:
        """Bind and serve. Raises ServiceFault if the address cannot be bound."""
        try:
            self._server = await serve(
                self._handle,
                self._listen.host,
                self._listen.port,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                process_request=self._check,
                server_header=None,
                ping_interval=self._ping_seconds,
                ping_timeout=self._ping_seconds,
                max_size=self._max_frame_bytes,
                max_queue=_MOST_UNREAD_FRAMES,
                write_limit=_WRITE_LIMIT,
                create_connection=Connection,
            )
        except OSError as error:
            raise cannot_listen(self.name, self._listen, error) from error
        self._address = self._listen.with_port(self._server.sockets[0].getsockname()[1])
        self._guard.spawn_eternal("websocket-keys", self._check_keys())
        _log.info("listening", server=self.name, address=str(self._address))

    async def stop(self, deadline: Deadline) -> None:
        """Close the door, then the sockets with 1012, spread over time; cut who stays."""
        server, self._server, self._address = self._server, None, None
        if server is None:
            return
        self._draining = True
        server.close(close_connections=False)
        spread = min(self._spread_seconds, deadline.remaining() / 2)
        loop = asyncio.get_running_loop()
        for socket in self._sockets:
            loop.call_later(random.uniform(0, spread), socket.close, closing.RESTART)
        closed = asyncio.ensure_future(server.wait_closed())
        _, staying = await asyncio.wait({closed}, timeout=deadline.remaining() * 0.8)
        if staying:
            for socket in tuple(self._sockets):
                socket.abort()
            await closed

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, Connection)  # noqa: S101 - that is what create_connection is
        assert connection.caller is not None  # noqa: S101 - `_check` let nobody else in
        socket = Socket(connection, self._house, connection.caller, connection.authorization)
        if self._draining:
            socket.close(closing.RESTART)
        elif len(self._sockets) >= self._max_sockets:
            socket.close(closing.TOO_MANY)
        connection.socket = socket
        self._sockets.add(socket)
        self._house.metrics.sockets.set(len(self._sockets))
        try:
            while True:
                await socket.receive(await connection.recv(decode=False))
        except ConnectionClosed:
            pass  # by the client, by us, or by the network: the end in any case
        finally:
            socket.release()
            connection.socket = None
            self._sockets.discard(socket)
            self._house.metrics.sockets.set(len(self._sockets))

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Who may open a socket; None lets the library go on with the handshake."""
        assert isinstance(connection, Connection)  # noqa: S101
        try:
            connection.authorization = check_handshake(request, self._origins)
            connection.caller = self._house.keyring.authenticate_reader(connection.authorization)
        except TidegateError as problem:
            self._house.metrics.refused.labels(str(problem.http_status)).inc()
            return refusal(problem)
        return None

    async def _check_keys(self) -> None:
        """For ever: who opened a socket with a key that was taken away has to go."""
        while True:
            await asyncio.sleep(_KEY_CHECK_SECONDS)
            for number, socket in enumerate(tuple(self._sockets), 1):
                socket.check_key()
                if number % _KEY_CHECK_SLICE == 0:
                    await asyncio.sleep(0)
