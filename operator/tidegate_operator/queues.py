"""Looks at a queue's two consumers, and makes them where they are missing.

`CONSUMER.INFO` is answered by the consumer's leader. What makes no sense, such as a count of
deliveries that fell, is taken for no answer: that is waited out, a wrong number would be acted on.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tidegate.chassis.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    JetStream,
    JetStreamError,
    NotSentError,
    RefusedError,
)
from tidegate.chassis.jetstream_consumers import ensure_consumer
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import mark_of, operators_change
from tidegate.contracts.subjects import JOBS_STREAM, consumer_name, jobs_of_consumer
from tidegate_operator.conditions import Reason
from tidegate_operator.signals import Ages, ConsumerLook

# An age is carried on for so long while nothing was delivered: the message may be large.
_AGE_SECONDS: Final = 10.0
# A leader that tells less than another did is waited for so long, then believed.
_CATCH_UP_SECONDS: Final = 15.0


class BlindError(Exception):
    """A queue could not be looked at. `reason` is that of the pool's condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class QueueLook:
    """A queue at one moment. `routed`: some gateway sends jobs to it, or has done so."""

    interactive: ConsumerLook
    batch: ConsumerLook
    ages: Ages
    routed: bool


@dataclass(frozen=True, slots=True)
class _Oldest:
    """When the first message after a sequence came in, by JetStream's clock (epoch seconds)."""

    after: int
    came_at: float
    read_at: float


class Queue:
    """One queue, looked at again and again. `operator` is what its consumers are marked with."""

    def __init__(self, jetstream: JetStream, queue: str, operator: str) -> None:
        self._jetstream = jetstream
        self._queue = queue
        self._operator = operator
        # Each consumer's furthest answer, and when the last came that reached it.
        self._furthest: dict[JobClass, tuple[dict[str, Any], float]] = {}
        self._oldest: dict[tuple[JobClass, str], _Oldest] = {}

    async def ensure(self) -> None:
        """Makes what is missing of its consumers. Raises BlindError."""
        try:
            for job_class in JobClass:
                await self._ensure(job_class)
        except JetStreamError as error:
            raise _blind(error) from error

    async def look(self) -> QueueLook:
        """How it stands. Consumers that are not there are made first. Raises BlindError."""
        try:
            infos = await self._infos()
            found = dict(zip(JobClass, infos, strict=True))
            ages = await self._ages(found)
        except JetStreamError as error:
            raise _blind(error) from error
        return QueueLook(
            _look(found[JobClass.INTERACTIVE]),
            _look(found[JobClass.BATCH]),
            ages,
            routed=any(mark_of(info["config"]) is None for info in infos),
        )

    async def _ensure(self, job_class: JobClass) -> None:
        await ensure_consumer(
            self._jetstream,
            JOBS_STREAM,
            consumer_name(self._queue, job_class),
            lambda found: operators_change(self._queue, job_class, self._operator, found),
        )

    async def _infos(self) -> list[dict[str, Any]]:
        try:
            infos = await asyncio.gather(*(self._info(job_class) for job_class in JobClass))
        except RefusedError as error:
            if error.code != CONSUMER_NOT_FOUND:
                raise
            await self.ensure()
            infos = await asyncio.gather(*(self._info(job_class) for job_class in JobClass))
        return list(infos)

    async def _info(self, job_class: JobClass) -> dict[str, Any]:
        name = consumer_name(self._queue, job_class)
        info = await self._jetstream.api(f"CONSUMER.INFO.{JOBS_STREAM}.{name}")
        now = asyncio.get_running_loop().time()
        before, at = self._furthest.get(job_class, (info, now))
        if _went_back(before, info) and now - at < _CATCH_UP_SECONDS:
            raise BlindError(
                Reason.NATS_UNREACHABLE, f"{name} tells less than it did: its leader catches up"
            )
        self._furthest[job_class] = (info, now)
        return info

    async def _ages(self, infos: dict[JobClass, dict[str, Any]]) -> Ages:
        undelivered, unacknowledged = [], []
        for job_class, info in infos.items():
            if info["num_pending"]:
                after = info["delivered"]["stream_seq"]
                undelivered.append(await self._age(job_class, "undelivered", after, info))
            if info["num_ack_pending"]:
                after = info["ack_floor"]["stream_seq"]
                unacknowledged.append(await self._age(job_class, "unacknowledged", after, info))
        return Ages(max(undelivered, default=None), max(unacknowledged, default=None))

    async def _age(
        self, job_class: JobClass, which: str, after: int, info: dict[str, Any]
    ) -> float:
        """Seconds since the first message after a sequence came in, by the server's clock."""
        now = datetime.fromisoformat(info["ts"]).timestamp()
        known = self._oldest.get((job_class, which))
        if known is None or known.after != after or now - known.read_at > _AGE_SECONDS:
            subject = jobs_of_consumer(self._queue, job_class)
            batch = await self._jetstream.direct_batch(
                JOBS_STREAM, subject, after + 1, 1, max_bytes=1
            )
            if not batch.messages:
                return 0.0  # A replica that is behind may not have it yet: it is asked again.
            came_at = batch.messages[0].time_ms / 1000
            known = self._oldest[job_class, which] = _Oldest(after, came_at, now)
        return max(now - known.came_at, 0.0)


def _look(info: dict[str, Any]) -> ConsumerLook:
    return ConsumerLook(
        num_pending=info["num_pending"],
        num_ack_pending=info["num_ack_pending"],
        consumer_sequence=info["delivered"]["consumer_seq"],
        max_ack_pending=info["config"].get("max_ack_pending", 0),
    )


def _went_back(before: dict[str, Any], info: dict[str, Any]) -> bool:
    """Whether the same consumer tells of fewer deliveries than it did."""
    same = before.get("created") == info.get("created")
    return same and info["delivered"]["consumer_seq"] < before["delivered"]["consumer_seq"]


def _blind(error: JetStreamError) -> BlindError:
    if isinstance(error, RefusedError) and error.code == STREAM_NOT_FOUND:
        return BlindError(
            Reason.STREAM_MISSING, f"the stream {JOBS_STREAM} is not there; a gateway makes it"
        )
    if isinstance(error, NotSentError):
        return BlindError(Reason.NATS_UNREACHABLE, "there is no connection to NATS")
    return BlindError(Reason.NATS_UNREACHABLE, f"JetStream: {error}")
