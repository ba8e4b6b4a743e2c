"""The figures of the moment, whatever begins, ends, and is slow to answer meanwhile."""

from tests.support.figures import snapshot
from tidegate.figures.interval import Interval
from tidegate.figures.snapshot import Snapshot


def answers(snapshots: list[Snapshot]) -> int:
    return sum(each.response.spread().count for each in snapshots)


def test_at_the_first_look_nothing_is_known_to_be_new() -> None:
    interval = Interval()
    assert interval.look([snapshot("a", answers=7)], at=100.0) == []
    assert interval.seconds is None


def test_after_that_it_is_what_came_since() -> None:
    interval = Interval()
    interval.look([snapshot("a", answers=7), snapshot("b", answers=1)], at=100.0)
    news = interval.look([snapshot("a", answers=9), snapshot("b", answers=1)], at=102.5)
    assert answers(news) == 2
    assert interval.seconds == 2.5


def test_a_process_that_was_started_again_begins_anew() -> None:
    interval = Interval()
    interval.look([snapshot("a", answers=70)], at=100.0)
    news = interval.look([snapshot("b", started_at=101.0, answers=3)], at=102.0)
    assert answers(news) == 3


def test_one_that_gave_no_answer_in_time_is_caught_up_with() -> None:
    """Else the answers of a busy worker would appear nowhere, or as if all were of the moment."""
    interval = Interval()
    interval.look([snapshot("a", answers=10), snapshot("b", answers=500)], at=100.0)
    assert answers(interval.look([snapshot("a", answers=11)], at=102.0)) == 1
    news = interval.look([snapshot("a", answers=11), snapshot("b", answers=506)], at=104.0)
    assert answers(news) == 6


def test_one_that_is_first_heard_of_late_brings_none_of_its_past() -> None:
    interval = Interval()
    interval.look([snapshot("a", answers=10)], at=100.0)
    late = snapshot("b", started_at=20.0, answers=900)
    assert answers(interval.look([late], at=102.0)) == 0
    assert answers(interval.look([snapshot("b", started_at=20.0, answers=904)], at=104.0)) == 4
