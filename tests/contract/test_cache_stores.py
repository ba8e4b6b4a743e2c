"""What every store of the cache does, whatever it is made of.

A user would be given another tenant's answer, one that has expired or been deleted, or one whose
question is less alike than the score says; or would pay again for what is in the cache.

On a Qdrant server too where TIDEGATE_TEST_QDRANT_URL names one that tests may write to.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.cache_stores import (
    DIMENSION,
    HOUR,
    NOW,
    SERVER_URL,
    drawn_vector,
    embedded_store,
    entry,
    memory_folder,
    qdrant_store,
    vector,
)
from tidegate.cache.entries import Entry, Scored, Selection, Store, StoreError, Vector
from tidegate.cache.stores import embedded, qdrant
from tidegate.cache.stores.payload import Payload, payload_of

# What the client's own server cannot do, and need not.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

KINDS = ["embedded", "memory", *(["server"] if SERVER_URL else [])]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """As pytest has it, and quicker."""
    with memory_folder() as folder:
        yield folder


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "embedded":
        # So few that search indexes are made all the time.
        async with embedded_store(tmp_path, head_entries=60) as opened:
            yield opened
    else:
        async with qdrant_store(
            ":memory:" if request.param == "memory" else SERVER_URL or ""
        ) as on:
            yield on


async def search(store: Store, asked: Vector, **changes: object) -> list[Scored]:
    arguments = {"tenant": "acme", "scope": "scope-1", "now_ms": NOW, "limit": 10, **changes}
    return await store.search(asked, **arguments)  # type: ignore[arg-type]


async def found(store: Store, asked: Vector, **changes: object) -> list[str]:
    return [each.entry.text for each in await search(store, asked, **changes)]


async def test_an_answer_comes_back_as_it_was(store: Store) -> None:
    kept = entry(1, scope="a/b", cost_nano_usd=None)
    await store.put(kept, vector(1))
    assert await store.get("acme", kept.id, NOW) == kept
    assert [each.entry for each in await search(store, vector(1), scope="a/b")] == [kept]


async def test_the_cost_is_unknown_or_nothing_or_known(store: Store) -> None:
    for number, cost in enumerate([None, 0, 2**50]):
        await store.put(entry(number, cost_nano_usd=cost), None)
        kept = await store.get("acme", entry(number).id, NOW)
        assert kept is not None
        assert kept.cost_nano_usd == cost


TEXTS = ["", "\0", "a\0b", "👩‍👩‍👧 ünïcödé", "\u202eright to left", "x" * 2**20, "\U0010ffff"]


async def test_any_text_comes_back_as_it_was(store: Store) -> None:
    for number, text in enumerate(TEXTS):
        kept = entry(number, text=text, question=text[:1000], tenant=f"t{text[:20]}")
        await store.put(kept, vector(1))
        assert await store.get(kept.tenant, kept.id, NOW) == kept
        near = await search(store, vector(1), tenant=kept.tenant)
        assert [each.entry for each in near] == [kept]
        assert await store.remove(Selection(kept.tenant)) == 1


async def test_half_a_surrogate_pair_is_refused_and_breaks_nothing(store: Store) -> None:
    """No stored form of it would come back as it was."""
    half = "\ud800"
    for broken in (entry(1, text=half), entry(1, question=half), entry(1, tenant=half)):
        with pytest.raises(StoreError):
            await store.put(broken, vector(1))
    for attempt in (search(store, vector(1), tenant=half), store.remove(Selection(half))):
        with pytest.raises(StoreError):
            await attempt
    await store.put(entry(1), vector(1))
    assert await store.count() == 1


async def test_a_later_answer_to_the_same_request_takes_the_place_of_the_earlier(
    store: Store,
) -> None:
    await store.put(entry(1), vector(1))
    await store.put(entry(1, text="better", created_ms=NOW + 9), vector(0.5))
    kept = await store.get("acme", entry(1).id, NOW)
    assert kept is not None
    assert kept.text == "better"
    (only,) = await search(store, vector(1))
    assert only.entry.text == "better"
    assert only.score == pytest.approx(0.5, abs=1e-4)
    await store.put(entry(1, created_ms=NOW + 10), None)
    assert await found(store, vector(1)) == []
    assert await store.count() == 1


async def test_the_nearest_come_first_with_their_cosines(store: Store) -> None:
    cosines = [0.2, 0.99, 0.5, 1.0, -0.3, 0.92]
    for number, cosine in enumerate(cosines):
        await store.put(entry(number), vector(cosine, axis=1 + number))
    near = await search(store, vector(1), limit=4)
    assert [each.score for each in near] == pytest.approx([1.0, 0.99, 0.92, 0.5], abs=1e-4)
    assert [each.entry.id for each in near] == [entry(number).id for number in (3, 1, 5, 2)]
    everything = await search(store, vector(1), limit=100)
    assert [each.score for each in everything] == pytest.approx(sorted(cosines)[::-1], abs=1e-4)


async def test_an_entry_of_a_later_release_does_not_cost_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(made: Entry) -> Payload:
        return {name: value for name, value in payload_of(made).items() if name != "finish_reason"}

    for module in (embedded, qdrant):
        monkeypatch.setattr(module, "payload_of", later)
    await store.put(entry(1), vector(1))
    monkeypatch.undo()
    await store.put(entry(2), vector(0.9))
    assert await found(store, vector(1)) == [entry(2).text]


async def test_another_tenants_answer_is_never_found(store: Store) -> None:
    await store.put(entry(1), vector(1))
    for tenant in ("acm", "acme2", "ACME", "acme/scope-1", ""):
        assert await found(store, vector(1), tenant=tenant) == []
        assert await store.get(tenant, entry(1).id, NOW) is None
        assert await store.remove(Selection(tenant)) == 0
        assert await store.remove(Selection(tenant, entry_id=entry(1).id)) == 0
        assert await store.count(tenant) == 0
    assert await found(store, vector(1)) == [entry(1).text]


async def test_tenant_and_scope_are_not_read_as_one(store: Store) -> None:
    await store.put(entry(1, tenant="a/b", scope="c"), vector(1))
    assert await found(store, vector(1), tenant="a", scope="b/c") == []
    assert await found(store, vector(1), tenant="a/b", scope="c") == [entry(1).text]


async def test_an_answer_of_another_scope_is_never_found(store: Store) -> None:
    await store.put(entry(1), vector(1))
    for scope in ("scope", "scope-10", "scope-2", ""):
        assert await found(store, vector(1), scope=scope) == []


async def test_what_has_expired_is_never_found(store: Store) -> None:
    await store.put(entry(1, expires_ms=NOW + 1), vector(1))
    assert await found(store, vector(1), now_ms=NOW) == [entry(1).text]
    assert await store.get("acme", entry(1).id, NOW) is not None
    for now in (NOW + 1, NOW + HOUR):
        assert await found(store, vector(1), now_ms=now) == []
        assert await store.get("acme", entry(1).id, now) is None


async def test_without_a_vector_only_the_same_request_finds_it(store: Store) -> None:
    await store.put(entry(1), None)
    await store.put(entry(2), vector(0.1))
    assert await store.get("acme", entry(1).id, NOW) == entry(1)
    assert await found(store, vector(1)) == [entry(2).text]
    assert await store.count("acme") == 2


OTHERS = [
    entry(1, job_id="job_a", model="fast"),
    entry(2, job_id="job_b", model="fast"),
    entry(3, job_id="job_a", model="slow"),
    entry(4, job_id="job_b", model="slow"),
    entry(5, job_id="job_a", model="fast", tenant="other"),
]


SELECTIONS = [
    (Selection("acme"), {1, 2, 3, 4}),
    (Selection("acme", entry_id=entry(2).id), {2}),
    (Selection("acme", job_id="job_a"), {1, 3}),
    (Selection("acme", model="slow"), {3, 4}),
    (Selection("acme", before_ms=NOW + 3), {1, 2}),
    (Selection("acme", job_id="job_a", model="slow"), {3}),
    (Selection("acme", job_id="job_b", before_ms=NOW + 4), {2}),
    (Selection("acme", entry_id=entry(2).id, job_id="job_a"), set()),
    (Selection("acme", entry_id=entry(5).id), set()),
    (Selection("other", model="fast", before_ms=NOW + 6), {5}),
    (Selection("acme", job_id="job_z"), set()),
    (Selection("nobody"), set()),
]


async def test_what_is_selected_is_removed_and_nothing_else(store: Store) -> None:
    for selection, gone in SELECTIONS:
        for each in OTHERS:
            await store.put(each, vector(0.9) if each.model == "fast" else None)
        assert await store.remove(selection) == len(gone), selection
        for number, each in enumerate(OTHERS, start=1):
            found_none = await store.get(each.tenant, each.id, NOW) is None
            assert found_none == (number in gone), selection
        assert await store.count() == len(OTHERS) - len(gone)
        assert await store.remove(selection) == 0


async def test_what_is_no_id_names_nothing(store: Store) -> None:
    await store.put(entry(1), None)
    for name in ("", "1", "no-uuid", entry(1).id.upper() + "0", "'; drop", "\0"):
        assert await store.get("acme", name, NOW) is None
        assert await store.remove(Selection("acme", entry_id=name)) == 0
        with pytest.raises(StoreError):
            await store.put(entry(1, id=name), None)
    assert await store.count() == 1


async def test_what_is_no_vector_is_refused(store: Store) -> None:
    for broken in (
        np.full(DIMENSION, np.nan, dtype=np.float32),
        np.full(DIMENSION, np.inf, dtype=np.float32),
        np.zeros(DIMENSION, dtype=np.float32),
        np.ones(DIMENSION - 1, dtype=np.float32),
        np.ones(0, dtype=np.float32),
    ):
        with pytest.raises(StoreError):
            await store.put(entry(1), broken)
        with pytest.raises(StoreError):
            await search(store, broken)
    assert await store.count() == 0


async def test_entries_are_counted_by_tenant_and_in_all(store: Store) -> None:
    assert await store.count() == await store.count("acme") == 0
    for number in range(5):
        await store.put(entry(number, tenant="acme" if number < 3 else "other"), None)
    assert [await store.count(of) for of in ("acme", "other", "none", None)] == [3, 2, 0, 5]


async def test_many_calls_at_once_do_not_disturb_each_other(store: Store) -> None:
    entries = [entry(number, scope=f"scope-{number % 4}") for number in range(60)]
    await asyncio.gather(*(store.put(each, vector(1)) for each in entries))
    answers = await asyncio.gather(*(store.get("acme", each.id, NOW) for each in entries))
    assert answers == entries
    searches = (search(store, vector(1), scope=f"scope-{n % 4}", limit=60) for n in range(20))
    for number, near in enumerate(await asyncio.gather(*searches)):
        assert {each.entry.scope for each in near} == {f"scope-{number % 4}"}
        assert len(near) == 15
    removals = (store.remove(Selection("acme", entry_id=each.id)) for each in entries)
    assert await asyncio.gather(*removals) == [1] * 60


class Model:
    """What a store should hold after some calls, by looking at each entry."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Entry, Vector | None]] = {}

    def nearest(self, asked: Vector, tenant: str, scope: str, now: int, limit: int) -> list[float]:
        scores = [
            float(np.dot(asked, its))
            for each, its in self.kept.values()
            if its is not None
            and (each.tenant, each.scope) == (tenant, scope)
            and each.expires_ms > now
        ]
        return sorted(scores, reverse=True)[:limit]

    def selected(self, by: Selection) -> list[str]:
        return [
            each.id
            for each, _ in self.kept.values()
            if each.tenant == by.tenant
            and by.job_id in {None, each.job_id}
            and (by.before_ms is None or each.created_ms < by.before_ms)
        ]


async def test_after_any_calls_it_holds_what_it_should(store: Store) -> None:
    """Searches among several tenants, scopes and times of expiry, in any order with the rest."""
    draw, numbers, model = random.Random(1), np.random.default_rng(1), Model()
    for step in range(1_000):
        tenant, scope = draw.choice(["a", "b", "ab"]), draw.choice(["s", "t"])
        now, kind = NOW + step, draw.random()
        if kind < 0.5:
            # Ids are made of the tenant as well, so that no tenant's entry takes another's place.
            number = 3 * draw.randrange(40) + ["a", "b", "ab"].index(tenant)
            its = None if draw.random() < 0.2 else drawn_vector(numbers)
            made = entry(number, tenant=tenant, scope=scope, job_id=f"job_{draw.randrange(9)}")
            made = replace(made, created_ms=now, expires_ms=now + draw.randrange(1, 200))
            await store.put(made, its)
            model.kept[made.id] = (made, its)
        elif kind < 0.9:
            asked, limit = drawn_vector(numbers), draw.randrange(1, 6)
            near = await search(store, asked, tenant=tenant, scope=scope, now_ms=now, limit=limit)
            expected = model.nearest(asked, tenant, scope, now, limit)
            assert [each.score for each in near] == pytest.approx(expected, abs=1e-4)
            assert all(model.kept[each.entry.id][0] == each.entry for each in near)
        else:
            by = Selection(tenant, job_id=draw.choice([None, f"job_{draw.randrange(9)}"]))
            by = replace(by, before_ms=draw.choice([None, now - 50]))
            gone = model.selected(by)
            assert await store.remove(by) == len(gone)
            for entry_id in gone:
                del model.kept[entry_id]
    for kept, _ in model.kept.values():
        assert await store.get(kept.tenant, kept.id, 0) == kept
    assert await store.count() == len(model.kept)
