"""The client that does everything over a WebSocket: create, subscribe, resume."""

import asyncio
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.chaos.clients import BREAKS, CALL_SECONDS, SILENCE_SECONDS, Client, Unheard
from tests.chaos.ledger import bearer

_PASSING = {"UNAVAILABLE", "DRAINING", "TOO_MANY_STREAMS", "INTERNAL"}


class SocketClient(Client):
    """One socket for each try."""

    async def create(self) -> bool:
        """As `Client` has it."""
        asked = self.creation() | {"type": "create", "ref": "1"}
        try:
            async with asyncio.timeout(CALL_SECONDS), self._connect() as socket:
                await socket.send(msgspec.json.encode(asked).decode())
                told = await _receive(socket)
        except (*BREAKS, WebSocketException) as error:
            raise Unheard from error
        if told["type"] == "created":
            self.told.job_id = told["job"]["id"]
            return True
        passes = told["code"] in _PASSING or told["code"].endswith(("FULL", "FLIGHT"))
        return self.refuse(503 if passes else 400, told["code"])

    async def follow(self) -> bool:
        """As `Client` has it."""
        try:
            return await self._follow()
        except WebSocketException as error:
            raise Unheard from error

    async def _follow(self) -> bool:
        asked = {
            "type": "subscribe",
            "job_id": self.told.job_id,
            "after_sequence": self.told.last_sequence,
        }
        async with self._connect() as socket:
            await socket.send(msgspec.json.encode(asked).decode())
            while True:
                frame = await _receive(socket)
                if frame["type"] == "ended":
                    self.told.complaints.append("the stream ended without a terminal event")
                    return True
                if frame["type"] == "error":
                    if frame["code"] not in _PASSING:
                        self.told.complaints.append(f"a reader was refused: {frame['code']}")
                    raise Unheard
                if self.told.hear(frame):
                    return True

    def _connect(self) -> connect:
        return connect(
            self.of(self.reach.sockets),
            subprotocols=["tidegate.v1"],  # type: ignore[list-item]
            additional_headers=bearer(self.reach.key),
            compression=None,
            max_size=None,
            open_timeout=CALL_SECONDS,
            # What was frozen does not answer a goodbye either.
            close_timeout=0.2,
        )


async def _receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(SILENCE_SECONDS):
        frame: dict[str, Any] = msgspec.json.decode(await socket.recv())
        return frame
