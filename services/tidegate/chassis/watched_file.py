"""A file that is looked at each second: a changed one comes into force whole, or not at all.

What cannot be read or used is said once, and what was in force stays so. Whoever writes such a file
best writes a new one beside it and renames it; one that is still being written is left to settle.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault, TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

T = TypeVar("T")

# Together less than the second that is promised.
_LOOK_SECONDS: Final = 0.8
_SETTLE_SECONDS: Final = 0.1


class WatchedFile(Generic[T]):
    """A component: hands what `parse` makes of the file to `take` whenever the file changed.

    `parse` runs in a thread while the process serves, and raises `refusal` (alone) for a content
    that cannot be used; `take` runs on the event loop. `on_stale` hears after each look that found
    a change, whether the file is now one that is not in force.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        guard: TaskGuard,
        *,
        parse: Callable[[bytes], T],
        take: Callable[[T], None],
        refusal: type[Exception],
        on_stale: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._path = path
        self._guard = guard
        self._parse = parse
        self._take = take
        self._refusal = refusal
        self._on_stale = on_stale
        self._seen: tuple[int, ...] | None = None
        self._said = ""
        self._watching: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Watch the file. Raises ServiceFault if it can no longer be used."""
        try:
            self.refresh()
        except (OSError, self._refusal) as error:
            raise ServiceFault(self.name, self._text_of(error)) from error
        self._watching = self._guard.spawn_eternal(self.name, self._watch())

    async def stop(self, deadline: Deadline) -> None:
        """Look at the file no more."""
        del deadline  # nothing to wait for
        if self._watching is not None:
            self._watching.cancel()

    def refresh(self) -> bool:
        """Take the file over if it changed since the last look; whether it did.

        Raises:
            OSError: it cannot be read; the next look tries again.
            Exception: the `refusal` of this file; not again before it changes, or is forgotten.
        """
        mark = _mark_of(self._path)
        if mark == self._seen:
            return False
        self._take(self._read(mark))
        self._on_stale(False)
        return True

    def forget(self) -> None:
        """Let the next look read the file even if it has not changed."""
        self._seen = None

    def _read(self, mark: tuple[int, ...]) -> T:
        # Until it was read, the next look has to try again, even if nothing else changes.
        self._seen = None
        content = self._path.read_bytes()
        self._seen = mark
        return self._parse(content)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                if await self._look():
                    self._said = ""
                    self._on_stale(False)
            except (OSError, self._refusal) as error:
                self._on_stale(True)
                text = self._text_of(error)
                if text != self._said:
                    self._said = text
                    _log.error(f"{self.name} stay as they were", reason=text)

    async def _look(self) -> bool:
        mark = _mark_of(self._path)
        if mark == self._seen:
            return False
        await asyncio.sleep(_SETTLE_SECONDS)
        if mark != _mark_of(self._path):
            return False
        # In a thread: others' answers stream meanwhile.
        self._take(await asyncio.to_thread(self._read, mark))
        return True

    def _text_of(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{self._path}: {error.strerror or type(error).__name__}"
        return str(error)


def _mark_of(path: Path) -> tuple[int, ...]:
    """What changes whenever the file does."""
    try:
        found = path.stat()
    except OSError:
        return (-1,)
    # A change of the mode, or one whose author set the time back, moves the last alone.
    return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns)
