"""What a worker tells another process of its figures arrives as it was, or not at all."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.figures import Worker, completed
from tidegate.figures.snapshot import (
    FAMILIES,
    Series,
    Snapshot,
    SnapshotError,
    decode_snapshot,
    encode_snapshot,
)


def busy(answers: int = 3) -> Worker:
    worker = Worker()
    for number in range(answers):
        worker.answer(seconds=number + 0.5, end=completed(1_000 * number))
    worker.answer(tier="exact", end=completed(saved=40_000))
    worker.answer(tier="coalesced", end=completed(saved=None))
    worker.answer(route="other", job_class="batch", end=completed(None))
    worker.figures.looked_up("hit", "exact")
    worker.figures.looked_up("miss")
    return worker


def test_it_is_what_the_metrics_say() -> None:
    told = busy().tell()
    assert told.response.spread(route="sim-small", tier="miss").count == 3
    assert told.response.spread(**{"class": "batch"}).count == 1
    assert told.ttft.spread().total == pytest.approx(6 * 0.2)
    assert told.cost.spread(route="sim-small").total == pytest.approx(3e-6)
    assert told.cost_unknown.sum() == 1
    assert told.saved.sum(tier="exact") == pytest.approx(4e-5)
    assert told.saved_unknown.sum(tier="coalesced") == 1
    assert told.lookups.sum(outcome="hit") == told.lookups.sum(outcome="miss") == 1
    assert told.response.values("route") == {"sim-small", "other"}


def test_it_arrives_as_it_was() -> None:
    told = busy().tell()
    assert decode_snapshot(encode_snapshot(told)) == told


def test_a_worker_that_has_done_nothing_tells_so() -> None:
    told = Worker().tell()
    assert decode_snapshot(encode_snapshot(told)) == told
    assert told.ttft.spread().count == 0
    assert told.lookups.sum(outcome="hit") == 0


def test_what_a_newer_release_adds_is_passed_over() -> None:
    told = msgspec.json.decode(encode_snapshot(busy().tell())) | {"weather": "fine"}
    assert decode_snapshot(msgspec.json.encode(told)) == busy().tell()


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"nonsense", b"\xff", b'{"process":"a","host":"h","started_at":"x"}']
)
def test_what_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(SnapshotError):
        decode_snapshot(payload)


def test_a_newer_format_is_refused() -> None:
    told = msgspec.json.decode(encode_snapshot(Worker().tell())) | {"v": 2}
    with pytest.raises(SnapshotError, match="newer"):
        decode_snapshot(msgspec.json.encode(told))


@pytest.mark.parametrize("part", [{"labels": ("sim",)}, {"counts": (1, 2)}, {"counts": ()}])
def test_one_that_lacks_labels_or_buckets_is_refused(part: dict[str, object]) -> None:
    """One process that tells nonsense must not take the figures of all others away."""
    told = busy().tell()
    broken = msgspec.structs.replace(told.ttft.series[0], **part)
    family = msgspec.structs.replace(told.ttft, series=(broken, *told.ttft.series[1:]))
    with pytest.raises(SnapshotError):
        decode_snapshot(encode_snapshot(msgspec.structs.replace(told, ttft=family)))


@given(st.integers(0, 5), st.integers(0, 5))
def test_the_difference_of_two_is_what_was_done_between(first: int, second: int) -> None:
    before, now = busy(first).tell(), busy(first + second).tell()
    since = now.since(before)
    assert since.response.spread().count == second
    assert since.cost.spread(tier="miss").count == second
    assert since.lookups.sum() == 0
    assert since.saved.sum() == pytest.approx(0)


def test_a_label_value_that_is_new_is_new_whole() -> None:
    worker = busy()
    before = worker.tell()
    worker.answer(2.0, route="third")
    since = worker.tell().since(before)
    assert since.response.spread(route="third").count == 1
    assert since.response.spread(route="other").count == 0


def test_counters_that_went_down_began_anew() -> None:
    since = busy(1).tell().since(busy(4).tell())
    assert since.response.spread(tier="miss", route="sim-small").count == 1
    assert all(
        series.total >= 0 and all(count >= 0 for count in series.counts)
        for family in FAMILIES
        for series in getattr(since, family).series
    )


def test_every_family_has_its_place_in_the_difference() -> None:
    """One that was forgotten would be shown since the start, beside others of the moment."""
    told = busy().tell()
    nothing = told.since(told)
    for name in FAMILIES:
        family = getattr(nothing, name)
        assert family.series
        assert all(series.total == 0 for series in family.series), name
    assert isinstance(told, Snapshot)
    assert isinstance(told.ttft.series[0], Series)
