"""Whole answers, handed to the cache beside the work on other jobs."""

import asyncio
from typing import Final

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import QueuedJob
from tidegate.providers.routes import Target
from tidegate.v1 import cache_pb2 as pb
from tidegate.worker.cache_client import CacheClient, Missed
from tidegate.worker.lead import Lead
from tidegate.worker.metrics import CacheMetrics

# Each holds an answer and its request in memory.
_AT_ONCE: Final = 64
_STOP_SECONDS: Final = 2.0
_MOST_INT64: Final = 2**63 - 1
# Any other end is not one of a whole answer.
_WHOLE: Final = ["stop"]


class Storing:
    """A component; end it after all who have an answer, and before the client and the flights."""

    name = "storing"

    def __init__(self, client: CacheClient, guard: TaskGuard, metrics: CacheMetrics) -> None:
        self._client = client
        self._guard = guard
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing is there to be stored yet."""

    async def stop(self, deadline: Deadline) -> None:
        """Gives what is under way a moment; then it is left out."""
        if self._tasks:
            seconds = min(deadline.remaining() / 2, _STOP_SECONDS)
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    def keep(self, job: QueuedJob, end: Completed, lead: Lead) -> None:
        """Takes the answer of a sealed log over, with the lead.

        That is given up once the answer is stored: who asks the same finds the one or the other.
        """
        request = self._request(job, end, lead)
        if request is None:
            lead.give_up()
            return
        task = self._guard.spawn("cache-store", self._store(request, lead))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _request(self, job: QueuedJob, end: Completed, lead: Lead) -> pb.StoreRequest | None:
        missed, target, text = lead.missed, lead.target, lead.text
        if missed is None or target is None or not text or end.finish_reasons != _WHOLE:
            return None
        if not lead.stands:
            # Somebody else may be at it, and has the right to say what is kept.
            self._metrics.stores.labels("unled").inc()
            return None
        if len(self._tasks) >= _AT_ONCE:
            self._metrics.stores.labels("crowded").inc()
            return None
        return store_request(job, end, text, target=target, missed=missed)

    async def _store(self, request: pb.StoreRequest, lead: Lead) -> None:
        try:
            await self._client.store(request)
        finally:
            lead.give_up()


def store_request(
    job: QueuedJob, end: Completed, text: str, *, target: Target, missed: Missed
) -> pb.StoreRequest:
    """What the cache is told of an answer: `end` says what it used and cost."""
    return pb.StoreRequest(
        tenant=job.tenant,
        model=job.model,
        chat_json=bytes(job.request),
        answer=pb.CachedAnswer(
            text=text,
            finish_reason=end.finish_reasons[0],
            job_id=job.id,
            upstream_model=target.model,
            input_tokens=end.usage.input_tokens,
            output_tokens=end.usage.output_tokens,
            cost_nano_usd=_as_int64(end.cost_nano_usd),
        ),
        shadow_of=missed.shadow_of,
    )


def _as_int64(cost: int | None) -> int | None:
    """A cost as it can be sent; one that is beyond all sense is as good as unknown."""
    return cost if cost is not None and cost <= _MOST_INT64 else None
