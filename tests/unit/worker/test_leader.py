"""What a leader's log means for who follows it, and how long one waits with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.endings import cancelled, expired
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import (
    AttemptStarted,
    Completed,
    CorruptLogError,
    Delta,
    Event,
    Failed,
    Timings,
    Usage,
    Waiting,
    encode_event,
)
from tidegate.contracts.spending import HANDED_BACK
from tidegate.eventlog.tail import Entry
from tidegate.worker.answer import Answered
from tidegate.worker.leader import LeaderFailedError, Leaders, answer_of, news_of

DOWN = Failed(Reason.PROVIDER_UNAVAILABLE, "x", retriable=True)
WAITING = Waiting(Reason.CIRCUIT_OPEN, 5)


def entries(*events: Event) -> list[Entry]:
    return [Entry(number, 0, 1, encode_event(event)) for number, event in enumerate(events, 1)]


def test_text_that_counts_no_more_is_left_out() -> None:
    news = news_of(
        entries(
            AttemptStarted(1, "w"),
            Delta("wrong"),
            WAITING,
            AttemptStarted(2, "w"),
            Delta("right"),
            Delta("!"),
        )
    )
    assert news.restarted
    assert [delta.data for delta in news.deltas] == ["right", "!"]
    assert news.waiting is None


def test_an_attempt_that_continues_keeps_the_text() -> None:
    news = news_of(entries(Delta("a"), AttemptStarted(2, "w", continues=True), Delta("b")))
    assert not news.restarted
    assert [delta.data for delta in news.deltas] == ["a", "b"]


def test_a_wait_is_over_with_the_next_word() -> None:
    assert news_of(entries(Delta("a"), WAITING)).waiting == WAITING
    assert news_of(entries(WAITING, Delta("a"))).waiting is None
    assert news_of(entries(Waiting(HANDED_BACK))).handed_back


def test_events_of_a_newer_release_are_passed_over() -> None:
    unknown = Entry(1, 0, 1, encode_event(Delta("x")).__class__(b'{"type":"progress"}'))
    news = news_of([unknown, *entries(Delta("a"))])
    assert [delta.data for delta in news.deltas] == ["a"]


def test_what_is_no_event_is_told() -> None:
    broken = Entry(1, 0, 1, encode_event(Delta("x")).__class__(b'{"type":"delta"}'))
    with pytest.raises(CorruptLogError):
        news_of([broken])


_events = st.sampled_from(
    [AttemptStarted(1, "w"), Delta("a"), Delta("b"), WAITING, Waiting(HANDED_BACK)]
)


@given(st.lists(_events), st.data())
def test_in_whichever_stretches_a_log_is_read_it_comes_to_the_same(
    events: list[Event], data: st.DataObject
) -> None:
    """A busy follower reads in long ones, and must not get another text for it."""
    whole, text = news_of(entries(*events)), ""
    rest = entries(*events)
    while rest:
        length = data.draw(st.integers(1, len(rest)))
        news = news_of(rest[:length])
        text = "" if news.restarted else text
        text += "".join(delta.data for delta in news.deltas)
        rest = rest[length:]
    assert text == "".join(delta.data for delta in whole.deltas)


@pytest.mark.parametrize(
    ("cost", "saved", "all_of_it"), [(9, 0, 9), (0, 7, 7), (None, 0, None), (0, None, None)]
)
def test_a_follower_saves_what_its_leaders_answer_cost(
    cost: int | None, saved: int | None, all_of_it: int | None
) -> None:
    end = Completed(["stop"], Usage(), Timings(1, 2, 3), cost, saved_nano_usd=saved)
    assert answer_of(end) == Answered(["stop"], all_of_it)


def test_patience_is_for_all_leaders_together() -> None:
    leaders = Leaders(10.0)
    assert leaders.may_wait(100.0, 106.0)
    leaders.moved(106.0)
    assert leaders.patience_left == 4.0
    # In which somebody works on the answer, nobody waits.
    assert leaders.may_wait(200.0, 204.0)
    # It goes on waiting.
    assert not leaders.may_wait(203.0, 206.0)
    leaders.moved(300.0)
    assert leaders.patience_left == 0.0


def test_who_has_all_the_time_waits() -> None:
    leaders = Leaders(None)
    assert leaders.may_wait(0.0, 1e9)
    leaders.moved(1e9)
    assert leaders.patience_left is None


def test_a_clock_that_goes_back_gives_no_patience() -> None:
    leaders = Leaders(10.0)
    assert leaders.may_wait(100.0, 101.0)
    leaders.moved(50.0)
    assert leaders.patience_left == 10.0


def test_ends_that_say_nothing_of_the_request_are_no_failures() -> None:
    leaders = Leaders(10.0)
    for _ in range(10):
        leaders.ended(cancelled())
        leaders.ended(expired())
    leaders.ended(DOWN)


def test_so_many_failures_are_the_followers_too() -> None:
    leaders = Leaders(10.0, most_failures=2)
    leaders.ended(DOWN)
    with pytest.raises(LeaderFailedError) as failed:
        leaders.ended(DOWN)
    assert failed.value.end == DOWN


def test_what_no_repeat_could_change_is_the_followers_at_once() -> None:
    refused = Failed(Reason.PROVIDER_REFUSED, "x")
    with pytest.raises(LeaderFailedError):
        Leaders(10.0).ended(refused)
