"""A TCP proxy on loopback that loses what a network loses.

    async with TcpProxy(nats.port) as proxy:
        ...                        # connect to proxy.port
        proxy.cut()                # every connection breaks
        proxy.hold(Way.UP)         # what the client sends is on its way, until `release`
        proxy.swallow(Way.DOWN)    # what the server answers never arrives, until `cut`
        proxy.delay(Way.DOWN, 0.05)
        proxy.refusing = True      # nobody listens, until it is False

`filters` makes for each connection what may take whole messages out of a way without breaking
it; tests/support/nats_frames.py has one that knows the protocol of NATS.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Protocol, Self

_CHUNK = 64 * 1024


class Way(Enum):
    """Which way bytes go."""

    UP = "client to server"
    DOWN = "server to client"


class Broken(OSError):
    """A filter's way to break its connection after `last` bytes."""

    def __init__(self, last: bytes) -> None:
        super().__init__("broken by a filter")
        self.last = last


class Filter(Protocol):
    """Sees all bytes of one way of one connection; returns what goes on, or raises Broken."""

    def feed(self, data: bytes) -> bytes: ...


FilterFactory = Callable[[Way], Filter | None]


class _Link:
    """One client's connection and the one behind it."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.ends = {
            Way.UP: (client[0], server[1]),
            Way.DOWN: (server[0], client[1]),
        }
        self.pumps: list[asyncio.Task[None]] = []

    def abort(self) -> None:
        for _, writer in self.ends.values():
            writer.transport.abort()
        for pump in self.pumps:
            pump.cancel()


class TcpProxy:
    """Forwards connections to a port on loopback; faults are switched on and off from outside.

    `port` is what clients connect to, the same for life.
    """

    def __init__(self, target_port: int, *, filters: FilterFactory | None = None) -> None:
        self.port = 0
        self._refusing = False
        self._listening: asyncio.Task[None] | None = None
        self._target_port = target_port
        self._filters = filters
        self._links: set[_Link] = set()
        self._open = {way: asyncio.Event() for way in Way}
        self._swallowing: set[Way] = set()
        self._delays = dict.fromkeys(Way, 0.0)
        self._server: asyncio.Server | None = None
        for gate in self._open.values():
            gate.set()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def cut(self) -> None:
        """Breaks every connection; held and swallowed bytes are lost, `swallow` ends."""
        self._swallowing.clear()
        for link in tuple(self._links):
            link.abort()

    def hold(self, way: Way) -> None:
        """Bytes of this way stay in the network."""
        self._open[way].clear()

    def release(self, way: Way) -> None:
        """Held bytes arrive, and later ones pass."""
        self._open[way].set()

    def swallow(self, way: Way) -> None:
        """Bytes of this way are lost. Only `cut` ends it, for the rest would make no sense."""
        self._swallowing.add(way)

    def delay(self, way: Way, seconds: float) -> None:
        """Every chunk of this way is late by so much, in order."""
        self._delays[way] = seconds

    @property
    def refusing(self) -> bool:
        """Whether nobody listens; connections that exist go on."""
        return self._refusing

    @refusing.setter
    def refusing(self, refusing: bool) -> None:
        self._refusing = refusing
        if refusing and self._server is not None:
            self._server.close()
            self._server = None
        elif not refusing:
            self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        if self._refusing or self._server is not None:
            server.close()
            return
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._listening is not None:
            await asyncio.gather(self._listening, return_exceptions=True)
        self.refusing = True
        pumps = [pump for link in self._links for pump in link.pumps]
        self.cut()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), server)
        self._links.add(link)
        link.pumps = [asyncio.create_task(self._pump(link, way)) for way in Way]

    async def _pump(self, link: _Link, way: Way) -> None:
        reader, writer = link.ends[way]
        sieve = self._filters(way) if self._filters is not None else None
        try:
            while data := await reader.read(_CHUNK):
                await self._open[way].wait()
                if self._delays[way]:
                    await asyncio.sleep(self._delays[way])
                if way in self._swallowing:
                    continue
                writer.write(data if sieve is None else sieve.feed(data))
                await writer.drain()
        except Broken as broken:
            writer.write(broken.last)
        except (OSError, RuntimeError):
            # Of uvloop's, RuntimeError: the transport is closed.
            pass
        finally:
            self._links.discard(link)
            link.abort()
