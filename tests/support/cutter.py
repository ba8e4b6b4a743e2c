"""A provider whose answer is cut at the byte that the model's name says.

`cut-17-end` gets the first 17 bytes of the stream and a proper end of the body; `cut-17-reset` gets
them and a connection that breaks.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

TEXT = "Ebb, flood."
_CHUNKS = (
    b'data: {"choices":[{"delta":{"content":"Ebb, "}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"flood."},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
)
STREAM = b"".join(_CHUNKS)
# Before this many bytes nobody can know that the answer has an end.
FINISHED = STREAM.index(b'"stop"')
# A connection that breaks is noticed below us; a few of those will do.
MODELS = [f"cut-{at}-end" for at in range(len(STREAM) + 1)]
MODELS += [f"cut-{at}-reset" for at in range(0, len(STREAM), 10)]
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def cutter(port: int) -> AsyncIterator[None]:
    """Serves on `port` of loopback."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                model = msgspec.json.decode(await reader.readexactly(size))["model"]
                await _answer(writer, *model.split("-")[1:])
        writers.discard(writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def _answer(writer: asyncio.StreamWriter, at: str, how: str) -> None:
    part = STREAM[: int(at)]
    writer.write(_HEAD + (b"%x\r\n%b\r\n" % (len(part), part) if part else b""))
    await writer.drain()
    if how == "end":
        writer.write(b"0\r\n\r\n")
    else:
        writer.transport.abort()
