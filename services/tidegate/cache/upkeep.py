"""What tenants do with their entries: remove them, judge them, count them."""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from tidegate.cache.decision import raised
from tidegate.cache.entries import Selection, StoreError, is_entry_id
from tidegate.cache.forgotten import Forgotten
from tidegate.cache.honesty import CONFIRMED, REPORTED, Record
from tidegate.cache.parts import Parts
from tidegate.chassis.component import Deadline
from tidegate.chassis.logs import describe_error
from tidegate.chassis.tasks import TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

_COUNT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What is kept for a tenant, how strict it is, and what is known of its hits."""

    entries: int
    threshold: float
    record: Record


class Upkeep:
    """A component, which counts the entries for the metrics. All of it raises StoreError.

    `threshold` is the setting.
    """

    name = "upkeep"

    def __init__(
        self, parts: Parts, forgotten: Forgotten, guard: TaskGuard, *, threshold: float
    ) -> None:
        self._store = parts.store
        self._honesty = parts.honesty
        self._metrics = parts.metrics
        self._now_ms = parts.now_ms
        self._forgotten = forgotten
        self._guard = guard
        self._threshold = threshold
        self._counting: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Counts from now on."""
        self._counting = self._guard.spawn_eternal("cache-count", self._count())

    async def stop(self, deadline: Deadline) -> None:
        """Counts no more."""
        del deadline
        if self._counting is not None:
            self._counting.cancel()

    async def invalidate(self, selection: Selection) -> int:
        """Removes entries; how many. An answer of a job that is named is not kept later either."""
        if selection.job_id is not None and selection == Selection(
            selection.tenant, job_id=selection.job_id
        ):
            # Before they are removed, so that one which is being stored now is seen here or there.
            self._forgotten.add(selection.tenant, selection.job_id)
        if selection.entry_id is not None and not is_entry_id(selection.entry_id):
            return 0
        removed = await self._store.remove(selection)
        self._metrics.invalidated.inc(removed)
        return removed

    async def feedback(self, tenant: str, entry_id: str, *, wrong: bool) -> bool:
        """Counts a judgement of an entry's answer, and removes a wrong one; whether it did.

        What is not there is not counted: nobody could have been served it now.
        """
        known = is_entry_id(entry_id)
        if wrong:
            known = known and await self._store.remove(Selection(tenant, entry_id=entry_id)) > 0
        else:
            known = known and await self._store.get(tenant, entry_id, self._now_ms()) is not None
        verdict = ("wrong" if wrong else "right") if known else "unknown"
        self._metrics.judgements.feedback.labels(verdict).inc()
        if known:
            self._honesty.tell(tenant, REPORTED if wrong else CONFIRMED)
        return wrong and known

    async def stats(self, tenant: str) -> Stats:
        """What there is to tell of a tenant."""
        record = self._honesty.record(tenant)
        return Stats(
            entries=await self._store.count(tenant),
            threshold=raised(self._threshold, record.tightened),
            record=record,
        )

    async def _count(self) -> None:
        while True:
            try:
                self._metrics.entries.set(await self._store.count())
            except StoreError as error:
                _log.debug("entries are not counted", error=describe_error(error))
            await asyncio.sleep(_COUNT_SECONDS)
