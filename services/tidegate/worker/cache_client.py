"""Asking the cache: briefly, and never so that a job waits or fails because of it."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import grpc
import structlog
from opentelemetry.trace import SpanKind

from tidegate.chassis.component import Deadline
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.tracing import Tracing, trace_metadata
from tidegate.contracts.events import CacheMark, CacheTier
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.subjects import is_flight_key
from tidegate.v1 import cache_pb2 as pb
from tidegate.v1.cache_pb2_grpc import CacheServiceStub
from tidegate.worker.metrics import WorkerCacheMetrics
from tidegate.worker.rest import Rest

_log = structlog.stdlib.get_logger(module=__name__)

# Neither a request nor an answer above this is worth its way.
MOST_BYTES: Final = 256 * 1024
_LOG_SECONDS: Final = 30.0
_TIERS: Final[dict[pb.CacheTier, CacheTier]] = {
    pb.CACHE_TIER_EXACT: "exact",
    pb.CACHE_TIER_SEMANTIC: "semantic",
}
_AWAY: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    # As it, or this process, ends.
    grpc.StatusCode.CANCELLED: "unavailable",
}


@dataclass(frozen=True, slots=True)
class Found:
    """An answer of the cache. `saved_nano_usd` is what it cost then (None: not known)."""

    mark: CacheMark
    text: str
    finish_reason: str
    saved_nano_usd: int | None


@dataclass(frozen=True, slots=True)
class Missed:
    """There is none; the model's may be stored. `key` names the request within its tenant.

    It is empty where the cache did not say in time: then nobody can follow. `shadow_of`: there is
    one, in this entry, which the model's is to be compared with.
    """

    key: str
    shadow_of: str = ""


class _Question(NamedTuple):
    tenant: str
    model: str
    chat_json: bytes


class Asked(NamedTuple):
    """What came of a lookup, in a word, and what was found.

    None: the cache cannot say, or the job is none for it.
    """

    outcome: str
    found: Found | Missed | None


class CacheClient:
    """A component: the cache at `target`, asked with the fleet's `key`.

    `lookup_seconds` and `store_seconds` bound the calls. `clock` gives seconds of the epoch,
    `monotonic` of any clock that never goes back.
    """

    name = "cache-client"

    def __init__(
        self,
        target: str,
        key: FleetKey,
        *,
        lookup_seconds: float,
        store_seconds: float,
        guard: TaskGuard,
        tracing: Tracing,
        metrics: WorkerCacheMetrics,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._authorization = ("authorization", key.authorization)
        self._lookup_seconds = lookup_seconds
        self._store_seconds = store_seconds
        self._guard = guard
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._rest = Rest()
        self._asking: dict[_Question, asyncio.Task[Asked]] = {}
        self._said_at: dict[str, float] = {}
        self._channel: grpc.aio.Channel | None = None
        self._stub: CacheServiceStub | None = None

    async def start(self) -> None:
        """Makes the channel and begins to connect; whether that succeeds, lookups will tell."""
        self._channel = make_channel(self._target)
        self._channel.get_state(try_to_connect=True)
        self._stub = CacheServiceStub(self._channel)

    async def stop(self, deadline: Deadline) -> None:
        """Closes the channel."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close(min(deadline.remaining() / 2, self._store_seconds))

    async def lookup(self, job: QueuedJob, *, afresh: bool = False) -> Asked:
        """What the cache has for a job.

        Those who ask the same at once share one call; of them, a shadow is one for who made it.
        `afresh`: not one that was made before now.
        """
        question = _Question(job.tenant, job.model, bytes(job.request))
        if len(question.chat_json) > MOST_BYTES:
            return Asked("bypass", None)
        asking = None if afresh else self._asking.get(question)
        if asking is not None:
            return _overheard(await asyncio.shield(asking))
        if self._rest.lasts(self._monotonic()):
            return Asked("resting", None)
        asking = self._guard.spawn("cache-lookup", self._ask(question))
        self._asking[question] = asking
        asking.add_done_callback(lambda done: self._forget(question, done))
        return await asyncio.shield(asking)

    async def store(self, request: pb.StoreRequest) -> None:
        """Hands an answer over; whether it was taken is counted, and nobody else's concern."""
        try:
            response = await self._live().Store(
                request, timeout=self._store_seconds, metadata=self._metadata()
            )
        except grpc.aio.AioRpcError as error:
            self._say("an answer could not be stored", error)
            outcome = "failed"
        else:
            outcome = _stored(response)
        self._metrics.stores.labels(outcome).inc()

    def _forget(self, question: _Question, asking: asyncio.Task[Asked]) -> None:
        if self._asking.get(question) is asking:
            del self._asking[question]

    async def _ask(self, question: _Question) -> Asked:
        with self._tracing.span("cache lookup", kind=SpanKind.CLIENT) as span:
            try:
                response = await self._live().Lookup(
                    pb.LookupRequest(**question._asdict()),
                    timeout=self._lookup_seconds,
                    metadata=self._metadata(),
                )
            except grpc.aio.AioRpcError as error:
                asked = self._failed(error)
            else:
                self._rest.succeeded()
                asked = _asked(response, self._clock())
            span.set_attribute("tidegate.cache", asked.outcome)
            return asked

    def _failed(self, error: grpc.aio.AioRpcError) -> Asked:
        # One that refuses, a wrong key say, is no more use than one that is away.
        self._rest.failed(self._monotonic())
        self._say("the cache is not asked", error)
        outcome = _AWAY.get(error.code(), "error")
        # It was late for the lookup, and need not be for the answer.
        return Asked(outcome, Missed("") if outcome == "timeout" else None)

    def _say(self, what: str, error: grpc.aio.AioRpcError) -> None:
        now, code = self._monotonic(), error.code()
        if now - self._said_at.get(what, float("-inf")) >= _LOG_SECONDS:
            self._said_at[what] = now
            # What is away comes back by itself; the rest is for somebody to mend.
            say = _log.warning if code in _AWAY else _log.error
            say(what, code=code.name, target=self._target)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (*trace_metadata(), self._authorization)

    def _live(self) -> CacheServiceStub:
        if self._stub is None:
            raise RuntimeError("the cache's client is used outside of its life")
        return self._stub


def _overheard(asked: Asked) -> Asked:
    """What it comes to for others than who asked: one draw of a shadow is one comparison."""
    found = asked.found
    if isinstance(found, Missed) and found.shadow_of:
        return Asked("miss", Missed(found.key))
    return asked


def _stored(response: pb.StoreResponse | None) -> str:
    return "stored" if response is not None and response.stored else "refused"


def _asked(response: pb.LookupResponse | None, now: float) -> Asked:
    """What a response says; one that says nothing that can be used is an error.

    None: the library could not read it.
    """
    if response is None:
        return Asked("error", None)
    outcome, key = response.outcome, response.key
    if outcome == pb.LOOKUP_OUTCOME_BYPASS:
        return Asked("bypass", None)
    if not is_flight_key(key):
        return Asked("error", None)
    if outcome == pb.LOOKUP_OUTCOME_HIT and _can_be_replayed(response):
        found = _found(response, now)
        return Asked(found.mark.tier, found)
    if outcome == pb.LOOKUP_OUTCOME_SHADOW and response.answer.entry_id:
        return Asked("shadow", Missed(key, response.answer.entry_id))
    return Asked("miss", Missed(key))


def _can_be_replayed(response: pb.LookupResponse) -> bool:
    answer = response.answer
    return bool(
        response.tier in _TIERS
        and answer.finish_reason
        and answer.text
        and len(answer.text) <= MOST_BYTES
    )


def _found(response: pb.LookupResponse, now: float) -> Found:
    answer = response.answer
    # The library's own conversion raises for moments that no calendar has.
    created = answer.created_at.seconds * 1000 + answer.created_at.nanos // 1_000_000
    score = response.score if response.HasField("score") else None
    mark = CacheMark(
        _TIERS[response.tier],
        score=score if score is not None and math.isfinite(score) else None,
        # Clocks disagree: nothing is older than time, or younger than now.
        age_ms=max(0, round(now * 1000) - created) if created > 0 else 0,
        source=answer.job_id,
        entry=answer.entry_id,
    )
    cost = answer.cost_nano_usd if answer.HasField("cost_nano_usd") else None
    return Found(mark, answer.text, answer.finish_reason, cost)
