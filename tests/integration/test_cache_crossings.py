"""Random lookups on the embedded store. Who lost this would be served what is somebody else's."""

from pathlib import Path

from tests.support.cache_chaos import JITTER, TTL, Chaos
from tests.support.cache_parts import DIMENSION, FINGERPRINT, CacheParts
from tidegate.cache.decision import Policy
from tidegate.cache.lookups import Tier
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space
from tidegate.cache.storing import KeepingOptions
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard

LOOKUPS = 5_000


async def test_nothing_crosses_a_border_on_disk_either(tmp_path: Path) -> None:
    guard = TaskGuard()
    store = EmbeddedStore(tmp_path, lambda: Space(FINGERPRINT, DIMENSION), guard)
    cache = CacheParts(
        store=store,
        guarded=False,
        policy=Policy(threshold=0.9, accounted=0.9),
        keeping=KeepingOptions(ttl=TTL, jitter=JITTER),
    )
    await store.start()
    try:
        chaos = Chaos(await cache.start(), seed=1)
        await chaos.live(LOOKUPS)
    finally:
        await store.stop(Deadline(10))
        await guard.cancel_all()
    assert chaos.crossed == []
    assert chaos.lost == 0
    assert chaos.hits[Tier.EXACT] > LOOKUPS / 20
    assert chaos.hits[Tier.SEMANTIC] > LOOKUPS / 20
