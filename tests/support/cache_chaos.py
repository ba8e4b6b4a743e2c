"""Random lives of a cache, and an exact model of what it may serve.

Every answer says in its text for whom it was given, so that whatever comes out can be held against
what was asked. `Chaos.live` draws lookups, stores, removals and jumps of the clock, and checks each
answer as it comes.
"""

import json
import random
from dataclasses import dataclass
from typing import Any

from tests.support.cache_parts import CacheParts, chat, says
from tidegate.cache.entries import Selection
from tidegate.cache.lookups import Found, Outcome, Tier
from tidegate.cache.storing import Answer

_TENANTS = ("acme", "acme-1", "globex")
_MODELS = ("sim-1", "sim-2")
_SYSTEMS: tuple[tuple[Any, ...], ...] = ((), (says("system", "Be brief."),))
_HISTORIES: tuple[tuple[Any, ...], ...] = (
    (),
    (says("user", "Hello"), says("assistant", "Hi")),
)
_FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"response_format": {"type": "json_object"}},
)
_THINGS = ("delivery", "refund", "parcel")
_WAYS = (
    "How long does the {} take?",
    "how long does the {} take",
    "How long does the {} take, please?",
)
TTL = 3_600.0
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """A request by its parts, each a place in the lists above."""

    tenant: str
    model: str
    system: int
    history: int
    fields: int
    thing: str
    way: int

    @property
    def scope(self) -> tuple[Any, ...]:
        """What a hit must have in common with it."""
        return (self.tenant, self.model, self.system, self.history, self.fields)

    @property
    def body(self) -> bytes:
        """The request."""
        question = _WAYS[self.way].format(self.thing)
        messages = (*_SYSTEMS[self.system], *_HISTORIES[self.history], question)
        return chat(*messages, **_FIELDS[self.fields])


@dataclass(slots=True)
class Given:
    """An answer that was stored: for what, when, by which job, and whether it was removed."""

    asked: Asked
    at_ms: int
    until_ms: int
    job_id: str
    removed: bool = False


class Chaos:
    """One life, by a seed. `crossed` are answers that must never have been served."""

    def __init__(self, cache: CacheParts, seed: int) -> None:
        self._cache = cache
        self._random = random.Random(seed)
        self._given: list[Given] = []
        self._last: dict[Asked, Given] = {}
        self.crossed: list[str] = []
        self.lost = 0
        self.hits = dict.fromkeys(Tier, 0)

    async def live(self, lookups: int) -> None:
        """So many lookups, with everything else in between."""
        for _ in range(lookups):
            chance = self._random.random()
            if chance < 0.3:
                await self._store(self._draw())
            elif chance < 0.32:
                await self._remove()
            elif chance < 0.4:
                self._cache.now += self._random.choice([1, 10, 60, 60, 600, -30, -50])
            await self._look(self._draw())

    def _draw(self) -> Asked:
        pick = self._random
        return Asked(
            tenant=pick.choice(_TENANTS),
            model=pick.choice(_MODELS),
            system=pick.randrange(len(_SYSTEMS)),
            history=pick.randrange(len(_HISTORIES)),
            fields=pick.randrange(len(_FIELDS)),
            thing=pick.choice(_THINGS),
            way=pick.randrange(len(_WAYS)),
        )

    async def _store(self, asked: Asked) -> None:
        number = len(self._given)
        self._cache.drawn = self._random.random()
        answer = Answer(json.dumps(number), "stop", f"job-{number}", "u")
        reason = await self._cache.storing.store(asked.tenant, asked.model, asked.body, answer)
        assert reason == ""
        lifetime = int(TTL * (1 - JITTER * self._cache.drawn) * 1000)
        given = Given(asked, self._now_ms, self._now_ms + lifetime, answer.job_id)
        replaced = self._last.get(asked)
        if replaced is not None:
            replaced.removed = True
        self._given.append(given)
        self._last[asked] = given

    async def _remove(self) -> None:
        if not self._given:
            return
        given = self._random.choice(self._given[-200:])
        tenant, model, before = given.asked.tenant, given.asked.model, self._now_ms - 600_000
        if self._random.random() < 0.9:
            await self._cache.upkeep.invalidate(Selection(tenant, job_id=given.job_id))
            given.removed = True
            return
        await self._cache.upkeep.invalidate(Selection(tenant, model=model, before_ms=before))
        for each in self._given:
            alike = (each.asked.tenant, each.asked.model) == (tenant, model)
            each.removed |= alike and each.at_ms < before

    async def _look(self, asked: Asked) -> None:
        found = await self._cache.lookups.lookup(asked.tenant, asked.model, asked.body)
        self.hits[found.tier] += 1
        if found.outcome is Outcome.HIT:
            self._check(asked, found)
        else:
            assert found.outcome is Outcome.MISS, found
            self._must_miss(asked)

    def _check(self, asked: Asked, found: Found) -> None:
        assert found.entry is not None
        given = self._given[json.loads(found.entry.text)]
        wrong = {
            "scope": given.asked.scope != asked.scope,
            "question": found.tier is Tier.EXACT and given.asked != asked,
            "expiry": self._now_ms >= given.until_ms,
            "future": given.at_ms > self._now_ms + 60_000,
            "removed": given.removed,
        }
        self.crossed += [name for name, is_so in wrong.items() if is_so]

    def _must_miss(self, asked: Asked) -> None:
        """Counts answers that were surely there: a cache that serves nothing crosses nothing."""
        given = self._last.get(asked)
        if given is None or given.removed:
            return
        if given.at_ms <= self._now_ms < given.until_ms:
            self.lost += 1

    @property
    def _now_ms(self) -> int:
        return int(self._cache.now * 1000)
