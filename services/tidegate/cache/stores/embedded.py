"""The embedded store: entries in a folder of this machine, kept by a process of its own.

What was put survives kill -9 of any process at any moment, for the engine writes it to its log
first. A power cut may take what has come in since the last grooming (2,000 entries), and what is
torn by it is set aside. The same holds for what is removed.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import structlog

from tidegate.cache.entries import Entry, Scored, Selection, StoreError, Vector, is_entry_id
from tidegate.cache.stores.folder import Folder
from tidegate.cache.stores.keeper_process import CALL_SECONDS, KeeperProcess, NoAnswer
from tidegate.cache.stores.payload import (
    Space,
    checked_text,
    checked_vector,
    collection_name,
    entry_of,
    payload_of,
    scope_value,
    vector_size,
)
from tidegate.cache.stores.reading import Reading
from tidegate.cache.stores.upkeep import HEAD_ENTRIES, Upkeep
from tidegate.chassis.backoff import Backoff
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault, TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

_RESTARTS: Final = Backoff(0.25, 30.0)
# A keeper that lived this long has earned a quick restart.
_STABLE_SECONDS: Final = 60.0
_OPEN_SECONDS: Final = 120.0
# Errors of the system that say nothing of a folder: no memory, no right, no more files, no space.
_NOT_ITS_FAULT: Final = tuple(f"(os error {number})" for number in (12, 13, 23, 24, 28, 30))
# Ways to end a keeper that say nothing of a folder either: a person, or the system short of memory.
_SENT: Final = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP}


class EmbeddedStore:
    """A component, and a `Store`.

    `space` is asked once when the store starts. `max_entries`: where there are more, the oldest
    of the tenant with most of them go, and `on_evicted` hears how many. `head_entries`: puts after
    which search indexes are made for them. `lock_seconds`: how long the folder may still be another
    process's, as it is for a moment after a cache was killed.
    """

    name = "cache-store"
    kind = "embedded"

    def __init__(
        self,
        directory: Path,
        space: Callable[[], Space],
        guard: TaskGuard,
        *,
        max_entries: int = 100_000,
        sweep_seconds: float = 60.0,
        head_entries: int = HEAD_ENTRIES,
        lock_seconds: float = 10.0,
        clock: Callable[[], float] = time.time,
        on_evicted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._ask_space = space
        self._guard = guard
        self._max_entries = max_entries
        self._sweep_seconds = sweep_seconds
        self._head_entries = head_entries
        self._lock_seconds = lock_seconds
        self._clock = clock
        self._on_evicted = on_evicted
        self._space = Space("", 0)
        self._reading = Reading()
        self._keeper: KeeperProcess | None = None
        self._upkeep: Upkeep | None = None
        self._tasks: list[asyncio.Task[object]] = []

    @property
    def keeper_pid(self) -> int | None:
        """The process that keeps the folder now."""
        return None if self._keeper is None else self._keeper.pid

    async def start(self) -> None:
        """Opens the folder. Raises ServiceFault if it cannot be used, or is another process's."""
        try:
            await self.open()
        except StoreError as error:
            raise ServiceFault(self.name, str(error)) from error

    async def open(self) -> None:
        """What `start` does. Raises StoreError."""
        self._space = self._ask_space()
        folder = Folder(self._directory, collection_name(self._space))
        self._upkeep = upkeep = Upkeep(
            folder,
            vector_size(self._space),
            self._keeper_now,
            max_entries=self._max_entries,
            head_entries=self._head_entries,
            now_ms=lambda: int(self._clock() * 1000),
            on_evicted=self._on_evicted,
        )
        self._keeper = await self._begin_keeper(folder, upkeep)
        self._tasks = [
            self._guard.spawn_eternal("cache-store", self._stay_open(folder, upkeep)),
            self._guard.spawn_eternal("cache-store-upkeep", upkeep.run(self._sweep_seconds)),
        ]

    async def stop(self, deadline: Deadline) -> None:
        """Writes all to the disk and lets go of the folder."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeper is not None:
            await self._keeper.end(deadline.remaining())
            self._keeper = None

    async def get(self, tenant: str, entry_id: str, now_ms: int) -> Entry | None:
        """As `Store` has it."""
        if not is_entry_id(entry_id):
            return None
        payload = await self._keeper_now().call("get", entry_id=entry_id)
        entry = None if payload is None else entry_of(entry_id, payload)
        return entry if entry and entry.tenant == tenant and entry.expires_ms > now_ms else None

    async def search(
        self, vector: Vector, *, tenant: str, scope: str, now_ms: int, limit: int
    ) -> list[Scored]:
        """As `Store` has it."""
        found = await self._keeper_now().call(
            "search",
            vector=checked_vector(vector, self._space).tobytes(),
            scope=checked_text(scope_value(tenant, scope)),
            now_ms=now_ms,
            limit=limit,
        )
        return [
            each
            for each in self._reading.scored(found)
            if (each.entry.tenant, each.entry.scope) == (tenant, scope)
            and each.entry.expires_ms > now_ms
        ]

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        """As `Store` has it."""
        checked = None if vector is None else checked_vector(vector, self._space).tobytes()
        head_puts, total = await self._keeper_now().call(
            "put", entry_id=entry.id, payload=payload_of(entry), vector=checked
        )
        if self._upkeep is not None:
            self._upkeep.told(head_puts, total)

    async def remove(self, selection: Selection) -> int:
        """As `Store` has it."""
        if selection.entry_id is not None and not is_entry_id(selection.entry_id):
            return 0
        keeper = self._keeper_now()
        async with self._not_copying():
            removed: int = await keeper.call(
                "remove",
                tenant=selection.tenant,
                entry_id=selection.entry_id,
                job_id=selection.job_id,
                model=selection.model,
                before_ms=selection.before_ms,
            )
        return removed

    async def count(self, tenant: str | None = None) -> int:
        """As `Store` has it."""
        entries: int = await self._keeper_now().call("count", tenant=tenant)
        return entries

    @contextlib.asynccontextmanager
    async def _not_copying(self) -> AsyncIterator[None]:
        """Waits for the groomer to have its copies, in which what is removed now would be left."""
        if self._upkeep is None:
            raise StoreError("the store is not open")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._upkeep.copying.acquire()
        except TimeoutError:
            raise NoAnswer("the store is being copied, and nothing can be removed") from None
        try:
            yield
        finally:
            self._upkeep.copying.release()

    def _keeper_now(self) -> KeeperProcess:
        if self._keeper is None:
            raise StoreError("the store is not open")
        return self._keeper

    async def _stay_open(self, folder: Folder, upkeep: Upkeep) -> None:
        tries, loop = 0, asyncio.get_running_loop()
        while True:
            began = loop.time()
            if self._keeper is not None:
                status = await self._keeper.ended()
                await self._keeper.end(0.0)
                self._keeper = None
                _log.warning("the store's keeper has ended, starting another", status=status)
            tries = 0 if loop.time() - began > _STABLE_SECONDS else tries + 1
            await _RESTARTS.pause(tries)
            try:
                self._keeper = await self._begin_keeper(folder, upkeep)
            except StoreError as error:
                _log.warning("the store cannot be opened, trying again", reason=str(error))

    async def _begin_keeper(self, folder: Folder, upkeep: Upkeep) -> KeeperProcess:
        """A keeper with all parts open that can be opened; the others are set aside."""
        try:
            await asyncio.to_thread(folder.make)
            while True:
                keeper = await KeeperProcess.begin(
                    folder.path, vector_size(self._space), self._lock_seconds
                )
                try:
                    if await self._open_parts(keeper, folder, upkeep):
                        return keeper
                except BaseException:
                    await keeper.end(0.0)
                    raise
                await keeper.end(0.0)
        except OSError as error:
            raise StoreError(f"{folder.path}: {error.strerror}") from error

    async def _open_parts(self, keeper: KeeperProcess, folder: Folder, upkeep: Upkeep) -> bool:
        """Whether all went well; where a part ended the keeper, another one is to go on."""
        await asyncio.to_thread(folder.tidy)
        parts, total, incoming = await asyncio.to_thread(folder.parts), 0, 0
        for name in parts:
            try:
                size: int = await keeper.call("open", name=name, call_seconds=_OPEN_SECONDS)
            except StoreError as error:
                await self._judge(keeper, folder, name, error)
                return False
            total += size
            incoming += size if name.startswith("head-") else 0
        heads = [name for name in parts if name.startswith("head-")]
        head = heads[-1] if heads else await asyncio.to_thread(folder.next, "head")
        await keeper.call("begin", name=head, call_seconds=_OPEN_SECONDS)
        upkeep.told(incoming, total)
        return True

    async def _judge(
        self, keeper: KeeperProcess, folder: Folder, name: str, error: StoreError
    ) -> None:
        """Sets a part aside that cannot be opened; raises StoreError if it is not its fault."""
        status = await keeper.status()
        passing = any(each in str(error) for each in _NOT_ITS_FAULT)
        if passing or status in _SENT or isinstance(error, NoAnswer):
            raise error
        aside = await asyncio.to_thread(folder.set_aside, name)
        _log.error(
            "a part of the cache's store cannot be read and was set aside; its answers are lost",
            part=name,
            now=str(aside),
            reason=str(error),
        )
