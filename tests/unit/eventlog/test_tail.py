"""A reader's tail: whatever the network does to live messages, clients see exactly the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import Log, begin, logs, write
from tidegate.contracts.events import CorruptLogError, Delta, decode_append
from tidegate.contracts.fold import fold
from tidegate.contracts.seal import encode_tombstone
from tidegate.eventlog.tail import Live, Tail, Verdict


def live_messages(log: Log) -> list[Live]:
    """What JetStream republishes, in the order of storing."""
    previous, messages = 0, []
    for sequence, payload in log.stored:
        messages.append(Live(sequence, previous, payload))
        previous = sequence
    return messages


def seen(tail: Tail) -> list[tuple[int, bytes]]:
    return [(entry.sequence, bytes(entry.raw)) for entry in tail.entries]


def replay_into(tail: Tail, log: Log, upto: int) -> None:
    """What a reader fetches, from a replica that knows the first `upto` messages."""
    stored = log.stored[:upto]
    if log.sealed and upto == len(log.stored):
        stored = stored[-1:]  # The rollup: nothing else is kept.
    for sequence, payload in stored:
        if sequence > tail.stream_sequence:
            tail.take(sequence, payload)


@given(logs(), st.data())
def test_drops_repeats_and_disorder_leave_exactly_the_log(log: Log, data: st.DataObject) -> None:
    """A lost, doubled or swapped token reaches the client as the model's own words."""
    tail = Tail("acme", "job")
    messages = live_messages(log)
    for _ in range(data.draw(st.integers(0, 25))):
        if data.draw(st.integers(0, 3)) == 0:
            replay_into(tail, log, data.draw(st.integers(0, len(log.stored))))
        else:
            tail.receive(data.draw(st.sampled_from(messages)))
        assert seen(tail) == log.events[: len(tail.entries)]
    replay_into(tail, log, len(log.stored))
    assert seen(tail) == log.events
    assert tail.ended == log.sealed
    assert tail.stream_sequence == log.head
    assert tail.fold().answer() == fold(log.lines).answer()


@given(logs())
def test_live_messages_alone_are_enough_when_nothing_is_lost(log: Log) -> None:
    """The common case costs no read of the store."""
    tail = Tail("acme", "job")
    assert [tail.receive(live) for live in live_messages(log)] == [Verdict.TAKEN] * len(log.stored)
    assert seen(tail) == log.events
    assert tail.closed == log.sealed


@given(logs(), st.data())
def test_a_missing_message_shows_as_a_gap_at_once(log: Log, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, len(log.stored) - 1))
    tail = Tail("acme", "job")
    for live in live_messages(log)[:lost]:
        tail.receive(live)
    after = live_messages(log)[lost + 1 :]
    if not after:
        return
    is_seal = log.sealed and lost == len(log.stored) - 2
    assert tail.receive(after[0]) is (Verdict.TAKEN if is_seal else Verdict.GAP)
    assert seen(tail) == (log.events if is_seal else log.events[: len(tail.entries)])


@given(logs(sealed=True), st.data())
def test_the_seal_alone_closes_every_gap(log: Log, data: st.DataObject) -> None:
    """A reader that missed everything still gives the whole answer, without another read."""
    tail = Tail("acme", "job")
    for live in live_messages(log)[: data.draw(st.integers(0, len(log.stored) - 1))]:
        tail.receive(live)
    assert tail.receive(live_messages(log)[-1]) is Verdict.TAKEN
    assert seen(tail) == log.events
    assert tail.ended


@given(logs(sealed=True), st.data())
def test_nothing_that_comes_late_changes_an_ended_log(log: Log, data: st.DataObject) -> None:
    """A leader that was frozen sends old messages again, after the end."""
    tail = Tail("acme", "job")
    replay_into(tail, log, len(log.stored))
    for _ in range(5):
        assert tail.receive(data.draw(st.sampled_from(live_messages(log)))) is Verdict.DROPPED
    assert seen(tail) == log.events


@given(logs(), st.data())
def test_a_client_resumes_at_every_sequence(log: Log, data: st.DataObject) -> None:
    tail = Tail("acme", "job")
    replay_into(tail, log, len(log.stored))
    for after in range(len(log.events) + 2):
        assert [(entry.sequence, bytes(entry.raw)) for entry in tail.entries[after:]] == (
            log.events[after:]
        )


@given(logs(sealed=True))
def test_a_tombstone_ends_following_without_an_end_event(log: Log) -> None:
    """A deleted job is gone for those who read it; it has not completed."""
    stone = encode_tombstone(log.lines[-1])
    tail = Tail("acme", "job")
    assert tail.receive(Live(log.head + 1, log.head, stone)) is Verdict.TAKEN
    assert tail.deleted
    assert tail.closed
    assert not tail.ended
    assert tail.entries == []


def test_a_log_with_a_hole_is_an_error_and_no_text() -> None:
    log = Log()
    owner = begin(log, continues=False)
    write(log, owner, [Delta("a")])
    write(log, owner, [Delta("b")])
    tail = Tail("acme", "job")
    tail.take(*log.stored[0])
    with pytest.raises(CorruptLogError):
        tail.take(*log.stored[2])


def test_where_the_log_begins_is_known_after_any_message() -> None:
    """A replay that had to search the whole stream for its start would be slow."""
    log = Log()
    owner = begin(log, continues=False)
    write(log, owner, [Delta("a")], step=5)
    assert decode_append(log.stored[1][1]).log == log.stored[0][0]
    tail = Tail("acme", "job")
    for live in live_messages(log):
        tail.receive(live)
        assert tail.log_start == log.stored[0][0]


def test_every_listener_hears_of_news_and_may_leave_meanwhile() -> None:
    tail = Tail("acme", "job")
    heard: list[str] = []

    def first() -> None:
        heard.append("first")
        tail.listeners.discard(first)

    tail.listeners |= {first, lambda: heard.append("second")}
    tail.notify()
    tail.notify()
    assert sorted(heard) == ["first", "second", "second"]
