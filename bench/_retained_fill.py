"""What bench/retained.py fills NATS with: sealed logs and queued jobs, many publishes in flight.

A sealed log is one message: the seal of a log of 102 events as the log's writer makes it, the last
line with the job's own summary, the lines before it compressed. Those, and the question, are the
same for every 64th job and made once. It is appended as a writer does it: fenced, as a rollup, to
be kept for a day. A queued job is stored as the gateway does it: fenced against a second one of its
id. It waits in a queue that nobody serves, and lives for six hours. Both are of ten tenants, which
nobody else is of; logs that clients are to resume are of the clients' own.
"""

import asyncio
import functools
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from bench._latency_calls import Load
from tests.support.log_world import LogPeer, completed
from tests.support.services import TENANT
from tidegate.contracts.chat import canonical_chat, parse_chat
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    Delta,
    encode_append,
    encode_event,
)
from tidegate.contracts.jobs import JobClass, QueuedJob, encode_job, hash_request, new_job_id
from tidegate.contracts.seal import encode_seal
from tidegate.contracts.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT,
    SHARDS,
    job_anywhere,
    log_subject,
    shard_of,
)
from tidegate.eventlog.appender import Appender

TOKENS: Final = 100
# An attempt's start, its tokens, its end.
EVENTS: Final = TOKENS + 2
_TOKENS_OF_A_LINE: Final = 10
_ANSWERS: Final = 64
TENANTS: Final = tuple(f"tenant-{number}" for number in range(10))
# Nobody serves it.
QUEUE: Final = "nobody"
_IN_FLIGHT: Final = 512
_TELL_SECONDS: Final = 15.0
_RESULT_TTL: Final = 24 * 3600
_QUEUED_TTL_MS: Final = 6 * 3600 * 1000
_PATIENCE: Final = 60.0
_QUESTIONS: Final = Load(1, 1.0, TOKENS, 1.0, 0.0, "kept-")


class Filler:
    """Fills one NATS over one connection. `sample`: some of the sealed logs, by their subjects."""

    def __init__(self, peer: LogPeer) -> None:
        self._peer = peer
        self._packed = [_packed(number) for number in range(_ANSWERS)]
        self._numbers = itertools.count()
        self._sampled: set[str] = set()
        self.sample: dict[str, bytes] = {}

    async def seal(self, number: int, sample: int) -> None:
        """So many more sealed logs of the ten tenants, a sample of so many of them kept."""
        ids = [new_job_id() for _ in range(number)]
        self._sampled.update(ids[:: max(number // max(sample, 1), 1)][:sample])
        await _many("sealed logs", ids, self._seal)

    async def seal_to_read(self, number: int) -> list[str]:
        """So many more sealed logs of the clients' tenant, by the ids of their jobs."""
        ids = [new_job_id() for _ in range(number)]
        await _many("sealed logs to be read", [*ids], functools.partial(self._seal, tenant=TENANT))
        return ids

    async def queue(self, number: int) -> None:
        """So many more jobs that nobody serves."""
        ids = [new_job_id() for _ in range(number)]
        await _many("queued jobs", ids, self._queue)

    async def queue_in_each_shard(self) -> list[str]:
        """A job of the clients' own tenant without a log, in every shard of the logs."""
        ids: dict[int, str] = {}
        while len(ids) < SHARDS:
            job_id = new_job_id()
            ids.setdefault(shard_of(job_id), job_id)
        for job_id in ids.values():
            await self._store(_job(job_id, next(self._numbers), "sim-large", QUEUE, TENANT))
        return list(ids.values())

    async def _seal(self, job_id: str, tenant: str = "") -> None:
        number = next(self._numbers)
        tenant = tenant or TENANTS[number % len(TENANTS)]
        job = _job(job_id, number, "sim-small", "default", tenant)
        subject = log_subject(job.tenant, job.id)
        appender = Appender(
            self._peer.jetstream,
            subject,
            0,
            metrics=self._peer.metrics,
            clock=time.time,
            give_up_at=time.time() + _PATIENCE,
        )
        last = encode_append(_last_line(job))
        payload = last + b"\n" + self._packed[number % _ANSWERS]
        if job_id in self._sampled:
            self.sample[subject] = payload
        await appender.append(payload, seal_ttl_seconds=_RESULT_TTL)

    async def _queue(self, job_id: str) -> None:
        number = next(self._numbers)
        tenant = TENANTS[number % len(TENANTS)]
        await self._store(_job(job_id, number, "sim-large", QUEUE, tenant))

    async def _store(self, job: QueuedJob) -> None:
        fence = {
            EXPECTED_LAST_SUBJECT_SEQUENCE: "0",
            EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: job_anywhere(job.tenant, job.id),
        }
        await self._peer.jetstream.publish(job.subject, encode_job(job), fence)


def _job(job_id: str, number: int, model: str, queue: str, tenant: str) -> QueuedJob:
    request = _request(number % _ANSWERS, model)
    return QueuedJob(
        id=job_id,
        tenant=tenant,
        key_id="bench",
        queue=queue,
        job_class=JobClass.INTERACTIVE,
        ttl_ms=_QUEUED_TTL_MS,
        model=model,
        request_hash=hash_request(JobClass.INTERACTIVE, request),
        request=msgspec.Raw(request),
    )


@functools.cache
def _request(number: int, model: str) -> bytes:
    """A question as the gateway stores it."""
    body = msgspec.json.encode(_QUESTIONS.request(number) | {"model": model})
    return canonical_chat(parse_chat(body))


def _packed(number: int) -> bytes:
    """The lines of an answer before its last one, as they stand in a seal."""
    words = _QUESTIONS.text(number).split(" ")
    deltas = [encode_event(Delta(f" {word}" if at else word)) for at, word in enumerate(words)]
    start = encode_event(AttemptStarted(1, f"bench-{number}", "simulator", "sim-small"))
    lines = [_line(1, [start])] + [
        _line(2 + at, deltas[at : at + _TOKENS_OF_A_LINE])
        for at in range(0, TOKENS, _TOKENS_OF_A_LINE)
    ]
    seal = encode_seal(_line(EVENTS, []), [encode_append(line) for line in lines])
    return seal.partition(b"\n")[2]


def _line(first: int, events: list[msgspec.Raw]) -> Append:
    return Append(attempt=1, first=first, at_ms=int(time.time() * 1000), events=events)


def _last_line(job: QueuedJob) -> Append:
    line = _line(EVENTS, [encode_event(completed())])
    return msgspec.structs.replace(line, job=job.summary(line.at_ms))


async def _many(what: str, ids: list[str], work: Callable[[str], Awaitable[None]]) -> None:
    """All of the work, some at once; `ids` are taken from."""
    begun, total = time.monotonic(), len(ids)
    told = begun

    async def some() -> None:
        nonlocal told
        while ids:
            await work(ids.pop())
            if (now := time.monotonic()) - told > _TELL_SECONDS:
                told = now
                print(f"  {total - len(ids):,} of {total:,} {what}", flush=True)

    await asyncio.gather(*(some() for _ in range(min(_IN_FLIGHT, total))))
    seconds = time.monotonic() - begun
    print(f"{total:,} {what} in {seconds:.0f} s", flush=True)
