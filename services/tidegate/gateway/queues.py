"""How many jobs wait and run in each queue, and how long the oldest has waited.

Measured by every gateway, since any of them may be gone: whoever reads several takes the most. A
queue that was taken from the routes is looked at for as long as the process lives, for its jobs may
still be there.

Looking at its consumers, a gateway also finds those that somebody removed, and makes them again. If
the operator was quicker, their mark says that no gateway routes to the queue, and is taken off.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import Any, Final

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import (
    CONSUMER_NOT_FOUND,
    JetStream,
    JetStreamError,
    RefusedError,
)
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import mark_of
from tidegate.contracts.subjects import JOBS_STREAM, consumer_name, jobs_of_consumer
from tidegate.eventlog.streams import apply_consumers
from tidegate.figures.metrics import QueueFigures
from tidegate.figures.stats import StatsQueue

_log = structlog.stdlib.get_logger(module=__name__)

_EVERY_SECONDS: Final = 5.0


class QueueWatch:
    """A component that measures every few seconds; `queues` are the names of those of now."""

    name = "queue-watch"

    def __init__(
        self,
        jetstream: JetStream,
        guard: TaskGuard,
        figures: QueueFigures,
        queues: Callable[[], Iterable[str]],
    ) -> None:
        self._jetstream = jetstream
        self._guard = guard
        self._figures = figures
        self._queues = queues
        self._known: dict[str, None] = {}
        self._neglected: set[str] = set()
        self._at_end = ExitStack()

    async def start(self) -> None:
        """Begin to measure."""
        watching = self._guard.spawn_eternal(self.name, self._watch())
        self._at_end.callback(watching.cancel)

    async def stop(self, deadline: Deadline) -> None:
        """Measure no more."""
        del deadline
        self._at_end.close()

    async def measure(self) -> list[StatsQueue]:
        """All queues as they stand now; those whose consumers are not there (yet) are left out.

        Raises:
            NoAnswerError: JetStream does not answer, and nothing is known.
        """
        self._known |= dict.fromkeys(self._queues())
        measured = []
        for queue in self._known:
            for job_class in JobClass:
                try:
                    info = await _info(self._jetstream, queue, job_class)
                    found = await _standing(self._jetstream, queue, job_class, info)
                except RefusedError as error:
                    self._figures.forget(queue, job_class)
                    if error.code == CONSUMER_NOT_FOUND:
                        self._neglected.add(queue)
                    continue
                except JetStreamError:
                    self._forget_all()
                    raise
                if mark_of(info["config"]) is not None:
                    self._neglected.add(queue)
                measured.append(found)
                self._show(found)
        return measured

    def _show(self, queue: StatsQueue) -> None:
        self._figures.show(
            queue.queue,
            queue.job_class,
            waiting=queue.waiting,
            running=queue.running,
            oldest_seconds=queue.oldest_s,
        )

    def _forget_all(self) -> None:
        for queue in self._known:
            for job_class in JobClass:
                self._figures.forget(queue, job_class)

    async def _care(self) -> None:
        routed = self._neglected.intersection(self._queues())
        self._neglected.clear()
        if changed := await apply_consumers(self._jetstream, routed):
            _log.info("cared for again", consumers=", ".join(changed))

    async def _watch(self) -> None:
        while True:
            # Without an answer there are no figures, which says it better than a line every time.
            with suppress(JetStreamError):
                await self.measure()
                await self._care()
            await asyncio.sleep(_EVERY_SECONDS)


async def read_queue(jetstream: JetStream, queue: str, job_class: JobClass) -> StatsQueue:
    """A queue and class as it stands, by JetStream's own clock.

    The oldest that waits is the first that was not delivered yet: exact around jobs that were
    cancelled. One that a worker handed back waits too, but it is counted as running.

    Raises:
        NoAnswerError, RefusedError: as their docstrings say.
    """
    return await _standing(jetstream, queue, job_class, await _info(jetstream, queue, job_class))


async def _info(jetstream: JetStream, queue: str, job_class: JobClass) -> dict[str, Any]:
    return await jetstream.api(f"CONSUMER.INFO.{JOBS_STREAM}.{consumer_name(queue, job_class)}")


async def _standing(
    jetstream: JetStream, queue: str, job_class: JobClass, info: dict[str, Any]
) -> StatsQueue:
    waiting = int(info["num_pending"])
    return StatsQueue(
        queue=queue,
        job_class=job_class.value,
        waiting=waiting,
        running=int(info["num_ack_pending"]),
        oldest_s=await _oldest_seconds(jetstream, queue, job_class, info) if waiting else 0.0,
    )


async def _oldest_seconds(
    jetstream: JetStream, queue: str, job_class: JobClass, info: dict[str, Any]
) -> float:
    after = int(info["delivered"]["stream_seq"])
    batch = await jetstream.direct_batch(
        JOBS_STREAM, jobs_of_consumer(queue, job_class), after + 1, 1, max_bytes=1
    )
    if not batch.messages:
        return 0.0
    now = datetime.fromisoformat(info["ts"]).timestamp()
    return max(now - batch.messages[0].time_ms / 1000, 0.0)
