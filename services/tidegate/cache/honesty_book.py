"""What this process knows of how honest each tenant's hits were, and tells the fleet.

A judgement counts here at once, and for the fleet as soon as NATS takes it. While NATS does not
answer, what was known last holds, with what was judged here since.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from tidegate.cache.honesty import HonestyPolicy, Record, Tally, begun, judged
from tidegate.cache.honesty_store import HonestyAwayError, HonestyStore, Kept
from tidegate.cache.metrics import JudgementMetrics
from tidegate.chassis.component import Deadline
from tidegate.chassis.logs import describe_error
from tidegate.chassis.tasks import TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

_READ_SECONDS: Final = 30.0
_AGAIN_SECONDS: Final = (0.5, 2.0)
_STOP_SECONDS: Final = 1.0
# Writes of one tenant in one exchange, each after another process was quicker.
_TRIES: Final = 16
_NOT_STORED: Final = Kept("", None, 0)


class HonestyBook:
    """A component; begin it once JetStream can be asked.

    `threshold` is the setting, and `embedder` tells the fingerprint of the one in use: what was
    learnt at others does not count.
    """

    name = "honesty"

    def __init__(
        self,
        store: HonestyStore,
        guard: TaskGuard,
        policy: HonestyPolicy,
        metrics: JudgementMetrics,
        *,
        threshold: float,
        embedder: Callable[[], str],
    ) -> None:
        self._store = store
        self._guard = guard
        self._policy = policy
        self._metrics = metrics
        self._threshold = threshold
        self._embedder = embedder
        self._kept: dict[str, Kept] = {}
        self._pending: dict[str, Tally] = {}
        self._seen = 0
        self._told = asyncio.Event()
        self._syncing = asyncio.Lock()
        self._keeping: asyncio.Task[object] | None = None

    def record(self, tenant: str) -> Record:
        """What is known of the tenant now."""
        stored = self._begun(self._kept.get(tenant, _NOT_STORED).record)
        tally = self._pending.get(tenant)
        return stored if tally is None else judged(stored, tally, self._policy)

    def tell(self, tenant: str, tally: Tally) -> None:
        """Counts judgements; they are stored in the background."""
        self._pending[tenant] = self._pending.get(tenant, Tally()) + tally
        self._told.set()

    async def start(self) -> None:
        """Reads what there is; a stream that is not there yet is read later."""
        await self._sync()
        self._keeping = self._guard.spawn_eternal("honesty", self._keep())

    async def stop(self, deadline: Deadline) -> None:
        """Stores what is not stored yet, if NATS takes it."""
        try:
            async with asyncio.timeout(min(deadline.remaining() / 2, _STOP_SECONDS)):
                # Once: a write that is under way must not be repeated as another.
                await self._sync()
        except TimeoutError:
            _log.warning("judgements of hits were not stored", tenants=len(self._pending))
        finally:
            if self._keeping is not None:
                self._keeping.cancel()

    async def _keep(self) -> None:
        synced = False
        while True:
            if synced:
                await self._until_told()
            else:
                await asyncio.sleep(random.uniform(*_AGAIN_SECONDS))
            synced = await self._sync()

    async def _until_told(self) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await self._told.wait()
        except TimeoutError:
            return

    async def _sync(self) -> bool:
        """Reads what others stored and stores what was judged here; whether all of that is done."""
        self._told.clear()
        try:
            async with self._syncing:
                return await self._exchange()
        except HonestyAwayError as error:
            _log.debug("judgements of hits are not exchanged", error=describe_error(error))
            return False

    async def _exchange(self) -> bool:
        for kept in await self._store.after(self._seen):
            self._take(kept)
            self._seen = max(self._seen, kept.sequence)
        pushed = [await self._push(tenant) for tenant in tuple(self._pending)]
        return all(pushed)

    async def _push(self, tenant: str) -> bool:
        """Stores what was judged of a tenant's hits; whether nothing is left for the next time."""
        for _ in range(_TRIES):
            tally = self._pending.get(tenant)
            if not tally:
                self._pending.pop(tenant, None)
                return True
            before = self._kept.get(tenant, _NOT_STORED)
            if before.newer:
                # It goes on counting here alone.
                return True
            record = self._begun(before.record)
            after = judged(record, tally, self._policy)
            kept = await self._store.put(tenant, after, before.sequence)
            if kept is None:
                self._correct(await self._store.last(tenant))
                continue
            self._take(kept)
            self._pending[tenant] -= tally
            if after.steps > record.steps:
                self._metrics.tightened.inc()
                _log.warning(
                    "too many hits were wrong: threshold tightened",
                    tenant=tenant,
                    steps=after.steps,
                )
        return not self._pending.get(tenant)

    def _correct(self, kept: Kept) -> None:
        """Takes what the stream's leader says, which lags behind nothing.

        A lower sequence than was seen: the stream was emptied or restored, and its numbers say
        something else now. All of it is read again, and until then what was known holds.
        """
        if kept.sequence < self._kept.get(kept.tenant, _NOT_STORED).sequence:
            self._seen = 0
            self._kept = {
                tenant: replace(known, sequence=0) for tenant, known in self._kept.items()
            }
        self._kept[kept.tenant] = kept

    def _take(self, kept: Kept) -> None:
        known = self._kept.get(kept.tenant, _NOT_STORED)
        # Replicas may lag behind what was written from here.
        if kept.sequence > known.sequence or kept.sequence == 0:
            self._kept[kept.tenant] = kept

    def _begun(self, record: Record | None) -> Record:
        return begun(record, threshold=self._threshold, embedder=self._embedder())
