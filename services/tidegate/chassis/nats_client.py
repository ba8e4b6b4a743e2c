"""The library's client, with what it does for every message replaced (bench/eventlog_cost.py).

Headers: a republished message carries five. The library looks at every character of every header
name: 17 µs a message, where splitting at the separators that the server writes takes 3.

Sending: the library makes a future for every publish and wakes a task that writes. Here what one
round of the loop publishes is written by one callback in the next; the library's task takes over
while the server reads more slowly than we write. A ping comes after what was published before it,
so that its answer says that the server has all of that.

Receiving: the library puts a message into a queue and wakes the subscription's task. A listener is
called at once, from the read loop.

Losing a connection: the library closes it and waits for the peer. A server that froze does not
read what is still unsent, so that wait would last for as long as it is frozen, whatever other
servers there are. Here the connection is aborted; what was unsent is given up, since its senders
have been told, or will find by their time-outs, that its fate is not known.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from typing_extensions import override

Listener = Callable[[Msg], None]

_LINE_BREAKS: Final = ("\r", "\n")


class NatsClient(Client):
    """A client that spends little on a message, and lets go of a dead connection at once."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners: dict[int, Listener] = {}
        self._write_due = False

    async def listen(self, subject: str, listener: Listener) -> Subscription:
        """Subscribes; the listener is called from the read loop, and must not take long.

        What it raises goes where an error of a subscription's callback goes. No message is dropped
        for want of room: there is none that waits.
        """

        async def before_it_is_known(message: Msg) -> None:
            listener(message)

        # Without limits, as there are none for a listener.
        subscription = await self.subscribe(
            subject, cb=before_it_is_known, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._listeners[subscription._id] = listener
        return subscription

    @override
    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._listeners.pop(sid, None)

    @override
    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        listener = self._listeners.get(sid)
        if listener is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        read = await self._process_headers(headers) if headers else None
        message = self._build_message(sid, subject, reply, data, read)
        try:
            listener(message)
        except Exception as error:
            await self._error_cb(error)

    @override
    async def _send_publish(
        self,
        subject: str,
        reply: str,
        payload: bytes,
        payload_size: int,
        headers: dict[str, Any] | None,
    ) -> None:
        command = encode_publish(subject, reply, payload, headers)
        if command is None:
            await super()._send_publish(subject, reply, payload, payload_size, headers)
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._write_due:
            self._write_due = True
            asyncio.get_running_loop().call_soon(self._write)

    @override
    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        if (writer := self._writer()) is not None:
            self._write_pending(writer)
        await super()._send_ping(future)

    def _write(self) -> None:
        """Writes what is pending, or wakes the library's task where the server lags behind."""
        self._write_due = False
        if not self._pending or (writer := self._writer()) is None:
            return
        if not writer.transport.get_write_buffer_size():
            self._write_pending(writer)
        elif self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def _writer(self) -> asyncio.StreamWriter | None:
        """None while there is no connection, and between its end and when the library sees it."""
        writer: asyncio.StreamWriter | None = getattr(self._transport, "_io_writer", None)
        if writer is None or not self.is_connected or writer.is_closing():
            return None
        return writer

    def _write_pending(self, writer: asyncio.StreamWriter) -> None:
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        writer.write(b"".join(pending))

    @staticmethod
    @override
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        lines = raw.decode("utf-8", "replace").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        # A peer that writes lines otherwise than the server does is read with all the care.
        if len(headers) + lines.count("") != len(lines):
            return Client._parse_header_lines(raw)
        return headers

    @override
    async def _process_op_err(self, e: Exception) -> None:
        if self.is_connected:
            writer = getattr(self._transport, "_io_writer", None)
            if writer is not None:
                writer.transport.abort()
            self._pending.clear()
            self._pending_data_size = 0
        await super()._process_op_err(e)


def encode_publish(
    subject: str, reply: str, payload: bytes, headers: Mapping[str, str] | None
) -> bytes | None:
    """PUB or HPUB of NATS's client protocol; None for values that need the library's care.

    Names of headers are taken as they are: they are this platform's own.
    """
    if not headers:
        return b"%b%b\r\n" % (f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload)
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if any(lines.count(each) != len(headers) for each in _LINE_BREAKS):
        return None
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    size = len(head) + len(payload)
    return b"%b%b%b\r\n" % (
        f"HPUB {subject} {reply} {len(head)} {size}\r\n".encode(),
        head,
        payload,
    )
