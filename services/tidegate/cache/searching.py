"""How entries are found for a prompt: the same request's, and those of like questions.

Tenant, scope and expiry are the store's filters. They are looked at again here: of an answer that
belongs to somebody else, one check is too few.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tidegate.cache.decision import (
    Compare,
    Decision,
    Policy,
    Thresholds,
    decide,
    thresholds_for,
)
from tidegate.cache.entries import Entry, Scored
from tidegate.cache.gist import agree
from tidegate.cache.parts import Parts
from tidegate.cache.request import Prompt

NEAREST: Final = 8
"""Entries that are looked at, at most."""

# A clock that was set back, or that of another process, may be so much behind.
_FUTURE_MS: Final = 60_000


class Search:
    """Finds and judges. `agreement` is the cosine of two answers from which they say the same."""

    def __init__(
        self, parts: Parts, policy: Policy, compare: Compare, *, agreement: float = 0.75
    ) -> None:
        self._store = parts.store
        self._questions = parts.questions
        self._honesty = parts.honesty
        self._metrics = parts.metrics
        self._policy = policy
        self._compare = compare
        self._agreement = agreement
        self.now_ms = parts.now_ms

    async def same(self, prompt: Prompt) -> Entry | None:
        """The answer to the same request.

        Raises:
            StoreError: the store does not say.
        """
        now = self.now_ms()
        with self._stage("exact"):
            entry = await self._store.get(prompt.tenant, prompt.entry_id, now)
        if entry is None or (entry.tenant, entry.key) != (prompt.tenant, prompt.key):
            return None
        return entry if is_current(entry, now) else None

    async def like(self, prompt: Prompt) -> list[Scored]:
        """The entries of the nearest questions in the prompt's scope, nearest first.

        Raises:
            NoVectorError: the question cannot be compared.
            StoreError: the store does not say.
        """
        with self._stage("embed"):
            vector = await self._questions.vector(prompt.question)
        now, scope = self.now_ms(), self.scope(prompt)
        with self._stage("search"):
            found = await self._store.search(
                vector, tenant=prompt.tenant, scope=scope, now_ms=now, limit=NEAREST
            )
        return [
            each
            for each in found
            if (each.entry.tenant, each.entry.scope) == (prompt.tenant, scope)
            and is_current(each.entry, now)
        ]

    def scope(self, prompt: Prompt) -> str:
        """The prompt's scope with the embedder in use."""
        return prompt.scope(self._questions.embedder)

    def thresholds(self, prompt: Prompt) -> Thresholds:
        """What the prompt's question is measured by now."""
        return thresholds_for(
            self._policy,
            prompt.question,
            steps=self._honesty.record(prompt.tenant).steps,
            scale=self._questions.scale,
        )

    def decide(
        self, prompt: Prompt, candidates: list[Scored], *, thorough: bool = False
    ) -> Decision:
        """What becomes of the candidates; `thorough`: of each, and counted nowhere."""
        if thorough:
            return self._decided(prompt, candidates, thorough=True)
        with self._stage("guard"):
            decision = self._decided(prompt, candidates, thorough=False)
        for judged in decision.judged:
            for rule in judged.rules:
                self._metrics.objections.labels(rule).inc()
        return decision

    def _decided(self, prompt: Prompt, candidates: list[Scored], *, thorough: bool) -> Decision:
        return decide(
            prompt.question,
            candidates,
            self.thresholds(prompt),
            self._compare,
            agree=lambda one, other: agree(one, other, self._agreement),
            thorough=thorough,
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._metrics.stage_seconds.labels(name).observe(time.perf_counter() - began)


def is_current(entry: Entry, now_ms: int) -> bool:
    """Whether an entry may be served: neither expired, nor from a time that has not come."""
    return entry.created_ms - _FUTURE_MS <= now_ms < entry.expires_ms


def age_ms(entry: Entry, now_ms: int) -> int:
    """How old it is, never below 0."""
    return max(now_ms - entry.created_ms, 0)
