"""The keeper as the cache sees it: a child process that is asked, and may end at any time."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tidegate.cache.entries import StoreError
from tidegate.cache.stores.keeper import HELD, LENGTH, Reply, Request
from tidegate.chassis.children import leave_group

CALL_SECONDS: Final = 5.0
"""After that a call is given up. The keeper goes on with it, for it does one after another."""

_MOST_WAITING: Final = 1_000
_MOST_UNREAD: Final = 16 * 1024 * 1024
_START_SECONDS: Final = 30.0

Stream = TypeVar("Stream")


class NoAnswer(StoreError):
    """Not in time; it may yet be done."""


class KeeperProcess:
    """One life of a keeper. Calls may be made concurrently; they are answered in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._reader = asyncio.create_task(self._read(), name="cache-keeper-read")

    @classmethod
    async def begin(cls, folder: Path, dimension: int, lock_seconds: float) -> "KeeperProcess":
        """Starts a keeper of a folder, which is there, and is let go of by others in that time.

        Raises:
            StoreError: another process owns the folder, or it cannot be started.
        """
        keeper = cls(await _spawn(folder, dimension, lock_seconds))
        try:
            await keeper._answer(0, _START_SECONDS + lock_seconds)
        except StoreError as error:
            await keeper.end(0.0)
            if str(error) == HELD:
                raise StoreError(f"{folder} is in use by another process") from None
            raise
        except asyncio.CancelledError:
            await keeper.end(0.0)
            raise
        return keeper

    async def call(
        self, method: str, *, call_seconds: float = CALL_SECONDS, **arguments: Any
    ) -> Any:
        """Asks for a method of Shards, and returns what it returned.

        Raises:
            StoreError: it failed, or there is no answer in time, or there will be none.
        """
        if self._reader.done():
            raise StoreError("the store's keeper has ended")
        if len(self._waiting) >= _MOST_WAITING:
            raise StoreError("too many calls wait for the store's keeper")
        self._number += 1
        request = Request(self._number, method, arguments)
        try:
            body = self._encoder.encode(request)
        except UnicodeEncodeError:
            raise StoreError("a text is not valid Unicode") from None
        stdin = _pipe(self._process.stdin)
        # Calls that were given up wait no more, but what they asked still does.
        if stdin.transport.get_write_buffer_size() > _MOST_UNREAD:
            raise StoreError("the store's keeper does not read")
        stdin.write(LENGTH.pack(len(body)) + body)
        return await self._answer(request.number, call_seconds)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ended(self) -> int:
        """Waits for the end; the exit status, a signal's number below 0."""
        return await self._process.wait()

    async def status(self) -> int | None:
        """The same if it has ended, and None if it has not."""
        return await self._process.wait() if self._reader.done() else None

    async def end(self, seconds: float) -> None:
        """Lets it write all to the disk and end, and kills it if that takes longer."""
        _pipe(self._process.stdin).close()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _answer(self, number: int, seconds: float) -> Any:
        future = self._waiting.setdefault(number, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise NoAnswer(f"the store does not answer within {seconds:g} s") from None
        finally:
            self._waiting.pop(number, None)

    async def _read(self) -> None:
        stdout, decoder = _pipe(self._process.stdout), msgspec.msgpack.Decoder(Reply)
        try:
            while True:
                length = LENGTH.unpack(await stdout.readexactly(LENGTH.size))[0]
                self._settle(decoder.decode(await stdout.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(StoreError("the store's keeper has ended"))

    def _settle(self, reply: Reply) -> None:
        future = self._waiting.get(reply.number)
        if future is None or future.done():
            return
        if reply.error:
            future.set_exception(StoreError(reply.error))
        else:
            future.set_result(reply.value)


async def _spawn(folder: Path, dimension: int, lock_seconds: float) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidegate.cache.stores.keeper"),
            *(str(folder), str(dimension), str(lock_seconds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C in the terminal is for the cache, which ends its keeper in order.
            preexec_fn=leave_group,
        )
    except OSError as error:
        raise StoreError(f"the store's keeper cannot be started: {error.strerror}") from error


def _pipe(stream: Stream | None) -> Stream:
    if stream is None:
        raise StoreError("the store's keeper has no pipes")
    return stream
