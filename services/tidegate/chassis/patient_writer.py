"""A streamed response whose client has to read, or is cut off."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from tidegate.chassis.alarm import NEVER, Alarm
from tidegate.chassis.transport import limit_unsent


class PatientWriter:
    """Writes `response`; a client that takes nothing of a write for `seconds` is cut off.

    That breaks its connection, unread bytes and all, which ends the handler like that of any client
    that goes; `on_cut` hears of it before. `spoke_at` is when something was last sent, by the
    loop's clock.
    """

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        *,
        seconds: float,
        on_cut: Callable[[], None],
    ) -> None:
        self.response = response
        self._request = request
        self._seconds = seconds
        self._on_cut = on_cut
        self._now = asyncio.get_running_loop().time
        self._patience = Alarm(self._cut)
        self.spoke_at = self._now()

    async def prepare(self) -> None:
        """Sends the headers, which may go out with the first bytes of the body."""
        if self._request.transport is not None:
            limit_unsent(self._request.transport)
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Sends, and waits until the client has taken most of it."""
        self._patience.set(self._now() + self._seconds)
        await self.response.write(data)
        self._patience.set(NEVER)
        self.spoke_at = self._now()

    async def finish(self) -> None:
        """Ends the response, with the same patience."""
        self._patience.set(self._now() + self._seconds)
        await self.response.write_eof()

    def close(self) -> None:
        """Nothing is written any more."""
        self._patience.close()

    def _cut(self) -> None:
        self._on_cut()
        if self._request.transport is not None:
            self._request.transport.abort()
