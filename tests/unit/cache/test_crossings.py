"""100,000 random lookups. Who lost this would be served what is somebody else's, or has gone."""

import random

import pytest
from typing_extensions import override

from tests.support.cache_chaos import JITTER, TTL, Chaos
from tests.support.cache_parts import CacheParts, ListStore
from tidegate.cache.decision import Policy
from tidegate.cache.entries import Entry, Scored, Vector
from tidegate.cache.lookups import Tier
from tidegate.cache.storing import KeepingOptions

LOOKUPS = 25_000


class LyingStore(ListStore):
    """Finds anything anywhere, and calls it the same: only the cache's own checks help."""

    def __init__(self, seed: int) -> None:
        super().__init__(careless=True)
        self._random = random.Random(seed)
        self._groups: dict[tuple[str, str], dict[str, Entry]] = {}

    @override
    async def put(self, entry: Entry, vector: Vector | None) -> None:
        await super().put(entry, vector)
        self._groups.setdefault((entry.tenant, entry.scope), {})[entry.id] = entry

    @override
    async def get(self, tenant: str, entry_id: str, now_ms: int) -> Entry | None:
        found = await super().get(tenant, entry_id, now_ms)
        return found or next((entry for entry, _ in self.kept.values()), None)

    @override
    async def search(
        self, vector: Vector, *, tenant: str, scope: str, now_ms: int, limit: int
    ) -> list[Scored]:
        every = list(self._groups.values())
        groups = [self._random.choice(every) for _ in range(3) if every]
        groups.append(self._groups.get((tenant, scope), {}))
        found = [entry for group in groups for entry in group.values()]
        live = [entry for entry in found if (entry.tenant, entry.id) in self.kept]
        return [Scored(self.kept[each.tenant, each.id][0], 1.0) for each in live]


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_crosses_a_border(seed: int) -> None:
    cache = CacheParts(
        store=LyingStore(seed),
        guarded=False,
        policy=Policy(threshold=0.9, accounted=0.9),
        keeping=KeepingOptions(ttl=TTL, jitter=JITTER),
    )
    chaos = Chaos(await cache.start(), seed)
    await chaos.live(LOOKUPS)
    assert chaos.crossed == []
    assert chaos.lost == 0
    assert chaos.hits[Tier.EXACT] > LOOKUPS / 20
    assert chaos.hits[Tier.SEMANTIC] > LOOKUPS / 20
