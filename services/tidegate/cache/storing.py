"""Storing: what a model answered, kept with its question, and compared after a shadow."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import structlog

from tidegate.cache.entries import Entry, Selection, StoreError, Vector
from tidegate.cache.forgotten import Forgotten
from tidegate.cache.gist import BEGINNING, gist_of
from tidegate.cache.parts import Parts
from tidegate.cache.questions import NoVectorError
from tidegate.cache.request import DEFAULT_LIMITS, Bypass, Limits, Prompt, read_prompt
from tidegate.cache.shadows import Shadows
from tidegate.chassis.component import Deadline
from tidegate.chassis.logs import describe_error
from tidegate.chassis.tasks import TaskGuard

T = TypeVar("T")

_log = structlog.stdlib.get_logger(module=__name__)

# Each holds an answer in memory.
_AT_ONCE: Final = 256
# Each holds a job's name.
_MOST_LATER: Final = 10_000
_STOP_SECONDS: Final = 2.0


class NotKept(StrEnum):
    """Why an answer is not kept, besides the reasons of a bypass."""

    FINISH_REASON = "finish_reason"
    """It did not end by itself: it is cut off, or no answer."""
    EMPTY_ANSWER = "empty_answer"
    ANSWER_TOO_LONG = "answer_too_long"
    DELETED = "deleted"
    """Its job was deleted meanwhile."""
    STORE_AWAY = "store_away"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer and where it comes from."""

    text: str
    finish_reason: str
    job_id: str
    upstream_model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True)
class KeepingOptions:
    """`ttl` is seconds, of which a random share up to `jitter` is taken off.

    `gists`: whether to keep what answers say, for telling rivals from one another. `again` are the
    pauses, in seconds, before a deleted job's answer is removed again where it may be there still.
    """

    limits: Limits = DEFAULT_LIMITS
    ttl: float = 86_400.0
    jitter: float = 0.1
    answer_bytes: int = 256 * 1024
    gists: bool = True
    again: tuple[float, ...] = (0.5, 2.0, 8.0)


class Storing:
    """A component: what it begins to keep it ends, although whoever asked has gone."""

    name = "storing"

    def __init__(
        self,
        parts: Parts,
        shadows: Shadows,
        forgotten: Forgotten,
        guard: TaskGuard,
        options: KeepingOptions,
    ) -> None:
        self._store = parts.store
        self._questions = parts.questions
        self._metrics = parts.metrics
        self._draw = parts.draw
        self._now_ms = parts.now_ms
        self._shadows = shadows
        self._forgotten = forgotten
        self._guard = guard
        self._options = options
        self._putting: set[asyncio.Task[Any]] = set()
        self._later: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Nothing is there to be kept yet."""

    async def stop(self, deadline: Deadline) -> None:
        """Gives what is being kept a moment; nothing is removed later."""
        if self._putting:
            await asyncio.wait(self._putting, timeout=min(deadline.remaining() / 2, _STOP_SECONDS))
        for task in self._putting | self._later:
            task.cancel()

    async def store(
        self, tenant: str, model: str, body: bytes, answer: Answer, *, shadow_of: str = ""
    ) -> str:
        """Keeps an answer; empty where it was kept, or else the reason in one word.

        `shadow_of` is the entry that would have been served: it is compared with the answer.
        """
        prompt = read_prompt(tenant, model, body, self._options.limits)
        if isinstance(prompt, Bypass):
            return self._not_kept(prompt)
        refusal = self._refusal(tenant, answer)
        if refusal is not None:
            return self._not_kept(refusal)
        try:
            shadowed = await self._shadows.find(prompt, shadow_of) if shadow_of else None
            vector = await self._vector(prompt)
            gist = "" if vector is None else await self._gist(answer.text)
            await self._put(self._entry(prompt, answer, gist), vector)
        except StoreError as error:
            _log.debug("the store is away", error=describe_error(error))
            return self._not_kept(NotKept.STORE_AWAY)
        if shadowed is not None:
            self._shadows.compare(prompt, shadowed, answer.text)
        if (tenant, answer.job_id) in self._forgotten:
            return self._not_kept(NotKept.DELETED)
        self._metrics.stores.labels("exact_only" if vector is None else "stored").inc()
        return ""

    def _refusal(self, tenant: str, answer: Answer) -> NotKept | None:
        if answer.finish_reason != "stop":
            return NotKept.FINISH_REASON
        if not answer.text.strip():
            return NotKept.EMPTY_ANSWER
        if len(answer.text.encode()) > self._options.answer_bytes:
            return NotKept.ANSWER_TOO_LONG
        return NotKept.DELETED if (tenant, answer.job_id) in self._forgotten else None

    async def _vector(self, prompt: Prompt) -> Vector | None:
        if prompt.exact_only is not None:
            return None
        try:
            return await self._questions.vector(prompt.question)
        except NoVectorError:
            return None

    async def _gist(self, text: str) -> str:
        if not self._options.gists:
            return ""
        try:
            return gist_of(await self._questions.vector(text.strip()[:BEGINNING]))
        except NoVectorError:
            return ""

    async def _put(self, entry: Entry, vector: Vector | None) -> None:
        """In a task of its own: a caller that goes must not leave a deleted job's answer behind."""
        if len(self._putting) >= _AT_ONCE:
            raise StoreError("too much is being stored")
        error = await asyncio.shield(self._spawn(self._putting, self._kept(entry, vector)))
        if error is not None:
            raise error

    async def _kept(self, entry: Entry, vector: Vector | None) -> Exception | None:
        """Keeps an entry, unless its job was deleted; what went wrong."""
        job = (entry.tenant, entry.job_id)
        if job in self._forgotten:
            return None
        failed: Exception | None = None
        try:
            await self._store.put(entry, vector)
        except StoreError as error:
            failed = error
        except Exception as error:
            # It is the caller's to hear of, who may have gone, and no end of the process.
            _log.error("an answer was not kept", error=describe_error(error))
            failed = error
        # Deleted in between: whichever came first in the store, it goes. What failed may have been
        # done all the same, or be done yet.
        removed = await self._removed(job)
        if (failed is not None or not removed) and len(self._later) < _MOST_LATER:
            self._spawn(self._later, self._remove_again(job))
        return failed

    async def _remove_again(self, job: tuple[str, str]) -> None:
        for pause in self._options.again:
            await asyncio.sleep(pause)
            await self._removed(job)

    async def _removed(self, job: tuple[str, str]) -> bool:
        """Removes a job's answers if it was deleted; whether none is left that should go."""
        if job not in self._forgotten:
            return True
        tenant, job_id = job
        try:
            await self._store.remove(Selection(tenant, job_id=job_id))
        except Exception as error:
            # Whatever it is: it is tried again, and this task may not end the process.
            _log.warning("a deleted job's answer was not removed", error=describe_error(error))
            return False
        return True

    def _spawn(
        self, tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, T]
    ) -> asyncio.Task[T]:
        task = self._guard.spawn("cache-store", work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _entry(self, prompt: Prompt, answer: Answer, gist: str) -> Entry:
        now_ms, options = self._now_ms(), self._options
        lifetime = options.ttl * (1 - options.jitter * self._draw())
        return Entry(
            id=prompt.entry_id,
            key=prompt.key,
            tenant=prompt.tenant,
            scope=prompt.scope(self._questions.embedder),
            model=prompt.model,
            job_id=answer.job_id,
            question=prompt.question,
            text=answer.text,
            finish_reason=answer.finish_reason,
            upstream_model=answer.upstream_model,
            created_ms=now_ms,
            expires_ms=now_ms + int(lifetime * 1000),
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost_nano_usd=answer.cost_nano_usd,
            gist=gist,
        )

    def _not_kept(self, reason: Bypass | NotKept) -> str:
        self._metrics.stores.labels(reason).inc()
        return reason.value
