"""How a lookup would be decided, and why. Changes nothing, counts nothing, asks no verifier."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidegate.cache.decision import Judged, Thresholds
from tidegate.cache.entries import Scored, StoreError
from tidegate.cache.lookups import Failed, Found, Outcome, Tier
from tidegate.cache.questions import NoVectorError
from tidegate.cache.request import Bypass, Limits, Prompt, read_prompt
from tidegate.cache.searching import Search


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a lookup would find, and what it would look at.

    `scope` is what a hit must have in common. For a bypass there is nothing but `found`.
    """

    found: Found
    scope: Mapping[str, str] = field(default_factory=dict)
    question: str = ""
    thresholds: Thresholds | None = None
    judged: tuple[Judged, ...] = ()
    now_ms: int = 0


class Explaining:
    """Explains. `verifies` says whether near questions would be put to a verifier."""

    def __init__(self, search: Search, limits: Limits, *, verifies: bool) -> None:
        self._search = search
        self._limits = limits
        self._verifies = verifies

    async def explain(self, tenant: str, model: str, body: bytes) -> Explanation:
        """Explains a lookup of a request; `body` is any bytes."""
        prompt = read_prompt(tenant, model, body, self._limits)
        if isinstance(prompt, Bypass):
            return Explanation(Found(Outcome.BYPASS, prompt.value))
        explanation = Explanation(
            Found(Outcome.MISS, Failed.STORE_AWAY.value, prompt.key),
            scope={**prompt.facts, "scope": self._search.scope(prompt)},
            question=prompt.question,
            thresholds=self._search.thresholds(prompt),
            now_ms=self._search.now_ms(),
        )
        try:
            same = await self._search.same(prompt)
            candidates, reason = await self._candidates(prompt)
        except StoreError:
            return explanation
        decision = self._search.decide(prompt, candidates, thorough=True)
        found = Found(Outcome.MISS, reason or decision.reason.value, prompt.key)
        if same is not None:
            found = Found(Outcome.HIT, key=prompt.key, tier=Tier.EXACT, entry=same)
        elif decision.served is not None:
            served = decision.served.scored
            found = Found(
                Outcome.HIT,
                key=prompt.key,
                tier=Tier.SEMANTIC,
                score=served.score,
                entry=served.entry,
            )
        elif decision.near and self._verifies:
            found = Found(Outcome.MISS, "near", prompt.key)
        return replace(explanation, found=found, judged=decision.judged)

    async def _candidates(self, prompt: Prompt) -> tuple[list[Scored], str]:
        """The nearest entries, or why none are looked for."""
        if prompt.exact_only is not None:
            return [], prompt.exact_only.value
        try:
            return await self._search.like(prompt), ""
        except NoVectorError as error:
            return [], error.reason.value
