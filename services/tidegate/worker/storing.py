"""Whole answers, handed to the cache beside the work on other jobs."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.logs import describe_error
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import QueuedJob
from tidegate.providers.routes import Target
from tidegate.v1 import cache_pb2 as pb
from tidegate.worker.cache_client import CacheClient, Missed
from tidegate.worker.lead import Lead
from tidegate.worker.metrics import WorkerCacheMetrics

_log = structlog.stdlib.get_logger(module=__name__)

# Each holds an answer and its request in memory.
_AT_ONCE: Final = 64
_STOP_SECONDS: Final = 2.0
_MOST_INT64: Final = 2**63 - 1
# Any other end is not one of a whole answer.
_WHOLE: Final = ["stop"]


class AnswerKeeping:
    """A component; end it after all who have an answer, and before the client and the flights."""

    name = "answer-keeping"

    def __init__(self, client: CacheClient, guard: TaskGuard, metrics: WorkerCacheMetrics) -> None:
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
        make = self._request(job, end, lead)
        if make is None:
            lead.give_up()
            return
        task = self._guard.spawn("cache-store", self._store(make, lead))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _request(
        self, job: QueuedJob, end: Completed, lead: Lead
    ) -> Callable[[], pb.StoreRequest] | None:
        """What makes the request; None: there is nothing to be stored."""
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
        return partial(store_request, job, end, text, target=target, missed=missed)

    async def _store(self, make: Callable[[], pb.StoreRequest], lead: Lead) -> None:
        try:
            await self._client.store(make())
        except Exception as error:
            # The caller has the answer: whatever it is that cannot be told, the worker goes on.
            self._metrics.stores.labels("failed").inc()
            _log.error("an answer could not be handed over", why=describe_error(error))
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
