"""Storing: what a model answered, kept with its question, and compared after a shadow."""

from dataclasses import dataclass
from enum import StrEnum

import structlog

from tidegate.cache.entries import Entry, Selection, StoreError, Vector
from tidegate.cache.forgotten import Forgotten
from tidegate.cache.gist import BEGINNING, gist_of
from tidegate.cache.parts import Parts
from tidegate.cache.questions import NoVectorError
from tidegate.cache.request import DEFAULT_LIMITS, Bypass, Limits, Prompt, read_prompt
from tidegate.cache.shadows import Shadows
from tidegate.chassis.logs import describe_error

_log = structlog.stdlib.get_logger(module=__name__)


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

    `gists`: whether to keep what answers say, for telling rivals from one another.
    """

    limits: Limits = DEFAULT_LIMITS
    ttl: float = 86_400.0
    jitter: float = 0.1
    answer_bytes: int = 256 * 1024
    gists: bool = True


class Storing:
    """Stores."""

    def __init__(
        self, parts: Parts, shadows: Shadows, forgotten: Forgotten, options: KeepingOptions
    ) -> None:
        self._store = parts.store
        self._questions = parts.questions
        self._metrics = parts.metrics
        self._draw = parts.draw
        self._now_ms = parts.now_ms
        self._shadows = shadows
        self._forgotten = forgotten
        self._options = options

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
        await self._store.put(entry, vector)
        if (entry.tenant, entry.job_id) in self._forgotten:
            # Its job was deleted in between: whichever came first in the store, it goes.
            await self._store.remove(Selection(entry.tenant, job_id=entry.job_id))

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
