"""Lookups: from a request to an answer that was given before, or to the reason that there is none.

Nothing that fails here is an error: it is a miss with a reason.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum

import structlog

from tidegate.cache.decision import Judged
from tidegate.cache.entries import Entry, StoreError
from tidegate.cache.parts import Parts
from tidegate.cache.questions import NoVectorError
from tidegate.cache.request import (
    DEFAULT_LIMITS,
    Bypass,
    Limits,
    Prompt,
    entry_id_of,
    read_prompt,
)
from tidegate.cache.searching import Search
from tidegate.cache.verifier import Verifier
from tidegate.chassis.logs import describe_error

_log = structlog.stdlib.get_logger(module=__name__)


class Outcome(StrEnum):
    """How a lookup ended."""

    HIT = "hit"
    SHADOW = "shadow"
    """A hit, and the model is to be asked all the same."""
    MISS = "miss"
    BYPASS = "bypass"


class Tier(StrEnum):
    """What answered."""

    NONE = "none"
    EXACT = "exact"
    SEMANTIC = "semantic"


class Failed(StrEnum):
    """Why a lookup missed that might have hit."""

    STORE_AWAY = "store_away"
    DEADLINE = "deadline"
    """It took longer than a lookup may."""
    UNVERIFIED = "unverified"
    """The verifier did not say that the questions mean the same."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a lookup found. `reason` says why it missed or was passed by, in one word.

    `key` is empty for a bypass; `entry` is there for a hit and a shadow, `score` for those of the
    semantic tier.
    """

    outcome: Outcome
    reason: str = ""
    key: str = ""
    tier: Tier = Tier.NONE
    score: float | None = None
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class LookupOptions:
    """`deadline` is seconds for a lookup, without the verifier's; `shadow_share` from 0 to 1."""

    limits: Limits = DEFAULT_LIMITS
    deadline: float = 1.0
    shadow_share: float = 0.0


class Lookups:
    """Looks up."""

    def __init__(
        self, parts: Parts, search: Search, verifier: Verifier | None, options: LookupOptions
    ) -> None:
        self._metrics = parts.metrics
        self._draw = parts.draw
        self._search = search
        self._verifier = verifier
        self._options = options

    async def lookup(self, tenant: str, model: str, body: bytes) -> Found:
        """Whether there is an answer to a request; `body` is any bytes."""
        began = time.perf_counter()
        outcome = "gone"
        try:
            found = await self._found(tenant, model, body)
            outcome = found.outcome.value
        finally:
            self._metrics.lookup_seconds.labels(outcome).observe(time.perf_counter() - began)
        self._metrics.lookups.labels(found.tier, found.outcome, found.reason).inc()
        return found

    async def _found(self, tenant: str, model: str, body: bytes) -> Found:
        prompt = read_prompt(tenant, model, body, self._options.limits)
        if isinstance(prompt, Bypass):
            return Found(Outcome.BYPASS, prompt.value)
        try:
            async with asyncio.timeout(self._options.deadline):
                found = await self._tiers(prompt)
        except TimeoutError:
            return _miss(prompt, Failed.DEADLINE)
        except StoreError as error:
            _log.debug("the store is away", error=describe_error(error))
            return _miss(prompt, Failed.STORE_AWAY)
        # The verifier has a time of its own.
        return found if isinstance(found, Found) else await self._verified(prompt, found)

    async def _tiers(self, prompt: Prompt) -> Found | Judged:
        """What is found, or the candidate that is to be verified."""
        entry = await self._search.same(prompt)
        if entry is not None:
            return Found(Outcome.HIT, key=prompt.key, tier=Tier.EXACT, entry=entry)
        if prompt.exact_only is not None:
            return _miss(prompt, prompt.exact_only)
        try:
            candidates = await self._search.like(prompt)
        except NoVectorError as error:
            return _miss(prompt, error.reason)
        decision = self._search.decide(prompt, candidates)
        if decision.served is not None:
            return self._hit(prompt, decision.served)
        if decision.near and self._verifier is not None:
            return decision.near[0]
        return _miss(prompt, decision.reason)

    async def _verified(self, prompt: Prompt, near: Judged) -> Found:
        assert self._verifier is not None  # noqa: S101
        if not await self._verifier.same(prompt.question, near.scored.entry.question):
            return _miss(prompt, Failed.UNVERIFIED)
        return self._hit(prompt, near)

    def _hit(self, prompt: Prompt, served: Judged) -> Found:
        entry = served.scored.entry
        if entry.id == entry_id_of(prompt.key):
            # The same request's, stored since it was looked for by its key.
            return Found(Outcome.HIT, key=prompt.key, tier=Tier.EXACT, entry=entry)
        shadow = self._draw() < self._options.shadow_share
        return Found(
            Outcome.SHADOW if shadow else Outcome.HIT,
            key=prompt.key,
            tier=Tier.SEMANTIC,
            score=served.scored.score,
            entry=entry,
        )


def _miss(prompt: Prompt, reason: StrEnum) -> Found:
    return Found(Outcome.MISS, reason.value, prompt.key)
