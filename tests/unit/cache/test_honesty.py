"""How honest hits are. Who lost this would be served wrong answers for as long as nobody looks."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.support.cache_parts import ListHonesty
from tidegate.cache.decision import STRICTEST, stricter
from tidegate.cache.honesty import (
    CONFIRMED,
    HONESTY_VERSION,
    REPORTED,
    SHADOW_RIGHT,
    SHADOW_WRONG,
    HonestyPolicy,
    Record,
    Tally,
    begun,
    judged,
)
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.honesty_store import Kept
from tidegate.cache.metrics import JudgementMetrics
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard

POLICY = HonestyPolicy()
AT = Record(0.92, "e")


def test_judgements_are_counted() -> None:
    record = AT
    for tally in (SHADOW_RIGHT, SHADOW_RIGHT, SHADOW_WRONG, CONFIRMED, REPORTED):
        record = judged(record, tally, POLICY)
    assert (record.shadowed, record.wrong_in_all, record.judged) == (3, 2, 5)
    assert record.tightened == 0


def test_nothing_is_known_before_anything_was_judged() -> None:
    assert AT.interval() is None
    low, high = judged(AT, SHADOW_RIGHT, POLICY).interval() or (1, 0)
    assert low == 0
    assert high == pytest.approx(0.793, abs=0.001)


def test_a_breach_tightens_by_a_step_and_counting_begins_anew() -> None:
    record = judged(AT, Tally(right=17, wrong=3), POLICY)
    assert record == Record(0.92, "e", steps=1)
    assert record.tightened == pytest.approx(0.01)


@pytest.mark.parametrize("tally", [Tally(right=16, wrong=3), Tally(right=19, wrong=1), Tally(200)])
def test_few_or_rare_wrong_ones_are_no_breach(tally: Tally) -> None:
    """Less than 20, or a share that may be chance: a tenant would lose its hits for nothing."""
    assert judged(AT, tally, POLICY).steps == 0


def test_people_who_report_wrong_answers_are_counted_and_make_nothing_stricter() -> None:
    """Nobody reports the right ones: one angry caller would cost the tenant all like hits."""
    record = judged(AT, Tally(right=18, confirmed=5, reported=30), POLICY)
    assert (record.steps, record.wrong_in_all) == (0, 30)
    assert judged(AT, Tally(wrong=19, confirmed=5), POLICY).steps == 0
    assert judged(AT, Tally(wrong=20, confirmed=9_000), POLICY).steps == 1


def test_it_is_never_tightened_beyond_the_strictest() -> None:
    record = AT
    for _ in range(20):
        record = judged(record, Tally(wrong=20), POLICY)
    assert record.steps == 7
    assert record.wrong == 20 * 13


def test_it_is_tightened_until_the_lowest_threshold_in_force_is_the_strictest() -> None:
    record, policy = AT, HonestyPolicy(discount=0.2)
    for _ in range(20):
        record = judged(record, Tally(wrong=20), policy)
    assert record.steps == 9
    assert stricter(0.92, 0.72, 8) < stricter(0.92, 0.72, 9) == STRICTEST


def test_the_version_is_written() -> None:
    """Without it a later release could not tell its own records from these."""
    assert msgspec.json.decode(msgspec.json.encode(AT))["v"] == HONESTY_VERSION
    assert (
        begun(
            msgspec.json.decode(b'{"threshold":0.92,"embedder":"e"}', type=Record),
            threshold=0.92,
            embedder="e",
        )
        == AT
    )


def test_what_was_learnt_at_another_setting_or_embedder_says_nothing() -> None:
    learnt = Record(0.92, "e", steps=3, right=5)
    assert begun(learnt, threshold=0.92, embedder="e") is learnt
    assert begun(learnt, threshold=0.9, embedder="e") == Record(0.9, "e")
    assert begun(learnt, threshold=0.92, embedder="f") == Record(0.92, "f")
    assert begun(None, threshold=0.92, embedder="e") == AT


_tallies = st.builds(Tally, *[st.integers(0, 30)] * 4)


@given(st.lists(_tallies, max_size=20))
def test_steps_only_go_up_and_bounds_stay_bounds(tallies: list[Tally]) -> None:
    record, steps = AT, 0
    for tally in tallies:
        record = judged(record, tally, POLICY)
        assert record.steps in {steps, steps + 1}
        steps = record.steps
        interval = record.interval()
        assert interval is None or 0 <= interval[0] <= interval[1] <= 1


class Fleet:
    """Two processes on one store."""

    def __init__(self) -> None:
        self.store = ListHonesty()
        self.one, self.other = self.book(), self.book()

    def book(self) -> HonestyBook:
        metrics = JudgementMetrics(CollectorRegistry())
        return HonestyBook(
            self.store, TaskGuard(), POLICY, metrics, threshold=0.92, embedder=lambda: "e"
        )


async def test_no_process_undoes_what_another_counted() -> None:
    fleet = Fleet()
    for _ in range(5):
        fleet.one.tell("acme", SHADOW_RIGHT)
        fleet.other.tell("acme", SHADOW_WRONG)
        await fleet.one.stop(Deadline(1))
        await fleet.other.stop(Deadline(1))
    await fleet.one.stop(Deadline(1))
    assert fleet.one.record("acme").shadowed == 10
    assert fleet.one.record("acme").wrong == 5
    assert fleet.one.record("globex").judged == 0


async def test_what_is_known_survives_a_restart() -> None:
    fleet = Fleet()
    fleet.one.tell("acme", Tally(wrong=20))
    await fleet.one.stop(Deadline(1))
    anew = fleet.book()
    await anew.start()
    assert anew.record("acme").steps == 1
    await anew.stop(Deadline(1))


async def test_while_nats_is_away_what_was_known_counts_and_nothing_is_lost() -> None:
    fleet = Fleet()
    fleet.one.tell("acme", Tally(right=3))
    await fleet.one.stop(Deadline(1))
    fleet.store.away = True
    fleet.one.tell("acme", Tally(wrong=17))
    assert fleet.one.record("acme").steps == 1
    await fleet.one.stop(Deadline(1))
    fleet.store.away = False
    await fleet.one.stop(Deadline(1))
    kept = await fleet.store.last("acme")
    assert kept.record is not None
    assert kept.record.steps == 1


@pytest.mark.parametrize("elsewhere", [0, 1])
async def test_a_stream_that_was_emptied_or_restored_is_written_to_again(elsewhere: int) -> None:
    """Its numbers begin anew, below those that were seen: nothing would ever be stored again."""
    fleet = Fleet()
    for _ in range(3):
        fleet.one.tell("acme", SHADOW_RIGHT)
        fleet.one.tell("globex", SHADOW_RIGHT)
        await fleet.one.stop(Deadline(1))
    fleet.store.kept.clear()
    fleet.store.sequence = 0
    if elsewhere:
        fleet.other.tell("acme", SHADOW_WRONG)
        await fleet.other.stop(Deadline(1))
    fleet.one.tell("acme", SHADOW_RIGHT)
    await fleet.one.stop(Deadline(1))
    kept = await fleet.store.last("acme")
    assert kept.record is not None
    assert (kept.record.right, kept.record.wrong) == (1, elsewhere)
    # What was known of the others holds, until the stream says something else.
    assert fleet.one.record("globex").right == 3
    fleet.other.tell("globex", SHADOW_WRONG)
    await fleet.other.stop(Deadline(1))
    await fleet.one.stop(Deadline(1))
    assert (fleet.one.record("globex").right, fleet.one.record("globex").wrong) == (0, 1)


async def test_an_exchange_has_an_end_although_others_are_always_quicker() -> None:
    """All other tenants' judgements would wait behind it."""
    fleet = Fleet()
    fleet.one.tell("acme", SHADOW_WRONG)
    fleet.one.tell("globex", SHADOW_WRONG)
    fleet.store.refuses = {"acme"}
    await asyncio.wait_for(fleet.one.stop(Deadline(1)), 5)
    kept = await fleet.store.last("globex")
    assert kept.record is not None
    fleet.store.refuses = set()
    await fleet.one.stop(Deadline(1))
    assert (await fleet.store.last("acme")).record is not None


async def test_what_a_newer_release_wrote_is_not_written_over() -> None:
    fleet = Fleet()
    newer = fleet.store.kept["acme"] = Kept("acme", None, 1, newer=True)
    fleet.store.sequence = 1
    fleet.one.tell("acme", SHADOW_WRONG)
    await fleet.one.stop(Deadline(1))
    assert await fleet.store.last("acme") == newer
    assert fleet.one.record("acme").wrong == 1
