"""What keeps an embedded store small and quick, in steps beside the traffic.

Each step is one call to the keeper, of a few milliseconds; lookups are answered between two. The
long work, making search indexes, is done by a process beside it, the groomer.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from tidegate.cache.entries import StoreError
from tidegate.cache.stores.folder import Folder
from tidegate.cache.stores.groomer_process import GroomerProcess, groomer_process
from tidegate.cache.stores.keeper_process import KeeperProcess

_log = structlog.stdlib.get_logger(module=__name__)

HEAD_ENTRIES: Final = 2_000
"""Puts after which the head is groomed: searched one by one, they take half a millisecond."""

SMALL_ENTRIES: Final = 8_000
"""Entries of a small settled folder, which takes in the heads: a second or two each time. Less
than a tenth of a large one, whose graphs are then used again although so many are gone of it."""

LARGE_ENTRIES: Final = 128_000
"""Most entries of a settled folder: more would take longer than half a second to open."""

_STEP: Final = 200
_EVICTED_SHARE: Final = 0.01
_GROOM_SECONDS: Final = 600.0
# Where nothing is ever idle; a folder of 128,000 entries takes a minute of an idle core.
_IDLE_SECONDS: Final = 240.0
# Nothing can be removed meanwhile; what cannot be copied in that time is tried again later.
_COPY_SECONDS: Final = 10.0
# Beyond that the rest waits for the next time, whatever the keeper says.
_MOST_STEPS: Final = 1_000
_ADOPT_SECONDS: Final = 30.0


class Upkeep:
    """Sweeps, evicts and grooms one folder.

    `keeper` gives the keeper of now, and raises StoreError where there is none; `on_evicted` hears
    how many entries went before their time. `copying` is held while the groomer copies: nothing
    may be removed then.
    """

    def __init__(
        self,
        folder: Folder,
        dimension: int,
        keeper: Callable[[], KeeperProcess],
        *,
        max_entries: int,
        head_entries: int,
        now_ms: Callable[[], int],
        on_evicted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._dimension = dimension
        self._keeper = keeper
        self._max_entries = max_entries
        self._head_entries = head_entries
        self._now_ms = now_ms
        self._on_evicted = on_evicted
        self._wanted = asyncio.Event()
        self._head_puts = 0
        self._total = 0
        self._idle = True
        self.copying = asyncio.Lock()

    def told(self, head_puts: int, total: int) -> None:
        """Hears after each put how many went into the head, and how many entries there are."""
        self._head_puts, self._total = head_puts, total
        if head_puts >= self._head_entries or total > self._max_entries:
            self._wanted.set()

    async def run(self, sweep_seconds: float) -> None:
        """Does what is needed when it is, and sweeps every so many seconds, for ever."""
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(sweep_at):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                if loop.time() >= sweep_at:
                    sweep_at = loop.time() + sweep_seconds
                    await self.sweep()
                await self.evict()
                await self.groom()
            except (StoreError, OSError, TimeoutError) as error:
                _log.warning(
                    "the cache's store is not kept up", reason=str(error) or type(error).__name__
                )

    async def sweep(self) -> int:
        """Removes what has expired; how many entries."""
        removed = await self._in_steps("sweep", now_ms=self._now_ms())
        for name in await self._keeper().call("empty"):
            await asyncio.to_thread(self._folder.discard, name)
        return removed

    async def evict(self) -> int:
        """Makes room where there are too many; how many went, a little more than needed."""
        self._total = await self._keeper().call("count", tenant=None)
        excess = self._total - self._max_entries
        if excess <= 0:
            return 0
        most = excess + int(self._max_entries * _EVICTED_SHARE)
        removed = await self._in_steps("evict", most=most)
        self._on_evicted(removed)
        return removed

    async def groom(self) -> bool:
        """Has search indexes made for what has come in, if it is enough; whether it was done.

        Where it fails, all stays as it was until as much has come in again.
        """
        if self._head_puts < self._head_entries:
            return False
        keeper = self._keeper()
        made = await asyncio.to_thread(self._folder.begin_making)
        try:
            async with asyncio.timeout(_IDLE_SECONDS if self._idle else _GROOM_SECONDS):
                await self._make(keeper, made)
            name = await asyncio.to_thread(self._folder.settle, made)
            done = await keeper.call("adopt", name=name, call_seconds=_ADOPT_SECONDS)
        except (StoreError, OSError, TimeoutError):
            await _abandon(keeper)
            # A part that was settled and not adopted is removed at the next start.
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)
            # The next one insists on its share of the CPU, if this one had none.
            self._idle = not self._idle
            raise
        self._idle = True
        for each in done:
            await asyncio.to_thread(self._folder.discard, each)
        return True

    async def _make(self, keeper: KeeperProcess, made: Path) -> None:
        async with contextlib.AsyncExitStack() as running:
            async with self.copying:
                try:
                    async with asyncio.timeout(_COPY_SECONDS):
                        groomer = await self._copy(keeper, made, running)
                except (StoreError, OSError, TimeoutError):
                    # Before anything is removed, and before the groomer is waited for.
                    await _abandon(keeper)
                    raise
            await groomer.done()

    async def _copy(
        self, keeper: KeeperProcess, made: Path, running: contextlib.AsyncExitStack
    ) -> GroomerProcess:
        """The groomer that works in `made`, with all its copies."""
        head = await asyncio.to_thread(self._folder.next, "head")
        names = await keeper.call("freeze", head=head, small=SMALL_ENTRIES, large=LARGE_ENTRIES)
        self._head_puts = 0
        sources = [self._folder.path / name for name in names]
        groomer = await running.enter_async_context(
            groomer_process(self._dimension, made, sources, idle=self._idle)
        )
        await groomer.copied()
        await keeper.call("copied")
        return groomer

    async def _in_steps(self, method: str, *, most: int | None = None, **arguments: int) -> int:
        removed = 0
        for _ in range(_MOST_STEPS):
            limit = _STEP if most is None else min(_STEP, most - removed)
            step: int = await self._keeper().call(method, limit=limit, **arguments)
            removed += step
            if step == 0 or removed == most:
                break
        return removed


async def _abandon(keeper: KeeperProcess) -> None:
    """Where it is not heard, the keeper does the same before it next removes or freezes."""
    with contextlib.suppress(StoreError):
        await keeper.call("abandon")
