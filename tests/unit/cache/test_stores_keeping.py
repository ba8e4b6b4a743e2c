"""Folders of entries in the keeper: what is removed stays removed, and nobody crowds others out."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cache_stores import DIMENSION, HOUR, NOW, entry, memory_folder, vector
from tidegate.cache.stores.payload import payload_of
from tidegate.cache.stores.shards import FINISHED, Shards, crowding

ALL = {"entry_id": None, "job_id": None, "model": None, "before_ms": None}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """As pytest has it, and quicker."""
    with memory_folder() as folder:
        yield folder


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """With a head."""
    made = Shards(tmp_path, DIMENSION)
    made.begin("head-000001")
    return made


def put(shards: Shards, *numbers: int, tenant: str = "acme") -> None:
    for number in numbers:
        shards.put(entry(number).id, payload_of(entry(number, tenant=tenant)), None)


def kept(shards: Shards, *numbers: int) -> list[int]:
    return [number for number in numbers if shards.get(entry(number).id)]


def freeze(shards: Shards, number: int) -> list[str]:
    return shards.freeze(f"head-{number:06}", small=100, large=1_000)


def test_where_abandon_was_not_heard_removals_are_made_all_the_same(shards: Shards) -> None:
    put(shards, 1, 2)
    freeze(shards, 2)
    assert shards.remove("acme", **{**ALL, "entry_id": entry(1).id}) == 1
    assert kept(shards, 1, 2) == [2]


def test_where_abandon_was_not_heard_what_has_expired_is_removed_once(shards: Shards) -> None:
    put(shards, 1, 2)
    freeze(shards, 2)
    assert [shards.sweep(NOW + HOUR, 200) for _ in range(2)] == [2, 0]


def test_where_abandon_was_not_heard_there_is_room_again(shards: Shards) -> None:
    put(shards, 1, 2, 3)
    freeze(shards, 2)
    assert shards.evict(2) == 2
    assert shards.count(None) == 1


def test_a_second_freeze_forgets_no_removal_of_the_first(shards: Shards) -> None:
    put(shards, 1, 2)
    freeze(shards, 2)
    put(shards, 1)
    assert freeze(shards, 3) == ["head-000001", "head-000002"]
    assert shards.count(None) == 2


def test_what_is_superseded_during_a_copy_is_not_found_by_its_former_vector(
    shards: Shards,
) -> None:
    """The score would be of another question than the answer is to."""
    shards.put(entry(1).id, payload_of(entry(1)), vector(1).tolist())
    shards.put(entry(2).id, payload_of(entry(2)), vector(0.9).tolist())
    freeze(shards, 2)
    shards.put(entry(1).id, payload_of(entry(1)), vector(0.5).tolist())
    (best,) = shards.search(vector(1).tolist(), "acme/scope-1", NOW, 1)
    assert (best[0], round(best[1], 3)) == (entry(2).id, 0.9)


def test_a_part_that_cannot_be_finished_counts_for_nothing(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(shards, 1)
    freeze(shards, 2)
    shards.copied()

    def full(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        shards.adopt("settled-000003")
    assert not (tmp_path / "settled-000003" / FINISHED).exists()
    shards.abandon()
    assert shards.count(None) == 1
    assert kept(shards, 1) == [1]


def test_who_asks_much_makes_room_and_not_the_others(shards: Shards) -> None:
    put(shards, *range(5), tenant="quiet")
    put(shards, *range(100, 140), tenant="loud")
    freeze(shards, 2)
    shards.copied()
    put(shards, *range(140, 160), tenant="loud")
    assert shards.evict(30) == 30
    assert kept(shards, *range(5)) == list(range(5))
    assert kept(shards, *range(100, 160)) == list(range(130, 160))


def test_among_many_small_tenants_the_oldest_go(shards: Shards) -> None:
    for number in range(60):
        put(shards, number, tenant=f"tenant-{number}")
    assert shards.evict(10) == 10
    assert kept(shards, *range(60)) == list(range(10, 60))


def test_an_empty_store_evicts_nothing(shards: Shards) -> None:
    assert shards.evict(10) == 0


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(1, 300), min_size=1, max_size=9),
    st.integers(1, 200),
)
def test_nobody_makes_room_for_one_who_has_clearly_more(
    entries: dict[str, int], limit: int
) -> None:
    left, to_go = Counter(entries), min(limit, sum(entries.values()))
    while to_go:
        tenant, share = crowding(left, to_go)
        assert tenant is not None
        taken = min(share, left[tenant])
        assert taken >= 1
        left[tenant] -= taken
        to_go -= taken
    most = max(left.values())
    for tenant, number in entries.items():
        assert left[tenant] == number or left[tenant] >= most - limit // 4 - 1
