"""A subscription delivers each event once and in order, however reading and writing interleave."""

from collections import deque

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry

from tests.support.log_world import completed
from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.errors import TidegateError
from tidegate.contracts.events import Append, AttemptStarted, Delta, encode_append, encode_event
from tidegate.contracts.events import JobSummary as Summary
from tidegate.contracts.seal import encode_seal
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.tail import Tail
from tidegate.streaming.feed import CHUNK_ENTRIES, Feed, FeedBook
from tidegate.streaming.subscription import Subscription

JOB = "job_" + "a" * 26
SUMMARY = Summary(JOB, "m", "default", "interactive", 0, 1, "")


class Log:
    """A log that grows in a tail, as the reader lets it grow."""

    def __init__(self) -> None:
        self.tail = Tail("dev", JOB)
        self._lines: list[bytes] = []
        self._next = 1

    def append(self, *events: AttemptStarted | Delta) -> None:
        line = encode_append(Append(1, self._next, 7, [encode_event(event) for event in events]))
        self._take(line)
        self._lines.append(line)
        self._next += len(events)

    def seal(self) -> None:
        last = Append(1, self._next, 7, [encode_event(completed())], job=SUMMARY)
        self._take(encode_seal(last, self._lines))

    def _take(self, payload: bytes) -> None:
        self.tail.take(self.tail.stream_sequence + 1, payload)
        self.tail.notify()


class Outlet:
    """Keeps what is written; turns are taken when the test says so."""

    def __init__(self) -> None:
        self.written = b""
        self.live = 0
        self.row: deque[Subscription] = deque()
        self.ends: list[TidegateError | None] = []

    def write_live(self, data: bytes, events: int) -> None:
        self.written += data
        self.live += events

    def write_replay(self, data: bytes, events: int) -> None:
        self.written += data

    def await_turn(self, subscription: Subscription) -> None:
        if subscription not in self.row:
            self.row.append(subscription)

    def finish(self, subscription: Subscription, problem: TidegateError | None) -> None:
        if not subscription.done:
            subscription.done = True
            self.ends.append(problem)

    def take_turn(self) -> None:
        if self.row:
            self.row.popleft().advance()

    @property
    def sequences(self) -> list[int]:
        frames, data = [], self.written
        while data:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(data[2:10], "big"), 10
            frames.append(msgspec.json.decode(data[start : start + size]))
            data = data[start + size :]
        return [frame["sequence"] for frame in frames]


def reader() -> LogReader:
    """A reader without a connection: `check` is all that a subscription asks of it here."""
    nothing: JetStream = None  # type: ignore[assignment]
    return LogReader(nothing, nothing, metrics=EventLogMetrics(CollectorRegistry()))  # type: ignore[arg-type]


def begin(log: Log, outlet: Outlet, after: int = 0, *, snapshot: bool = False) -> Subscription:
    subscription = Subscription(JOB, after, outlet, reader(), INVALID_SPAN)
    log.tail.listeners.add(subscription.wake)
    subscription.begin(Feed(log.tail), snapshot=snapshot)
    return subscription


steps = st.lists(st.sampled_from(["one", "some", "many", "big", "turn", "wake"]), max_size=30)


@given(steps, st.integers(0, 20), st.integers(0, 8))
def test_each_event_arrives_once_and_in_order(script: list[str], after: int, before: int) -> None:
    log, outlet = Log(), Outlet()
    log.append(AttemptStarted(1, "w"), *[Delta("x")] * before)
    subscription = begin(log, outlet, after)
    for step in script:
        if step == "turn":
            outlet.take_turn()
        elif step == "wake":
            subscription.wake()
        elif step == "big":
            log.append(Delta("y" * 80_000))
        else:
            log.append(*[Delta("x")] * {"one": 1, "some": 5, "many": CHUNK_ENTRIES + 3}[step])
    log.seal()
    while outlet.row:
        outlet.take_turn()
    assert outlet.sequences == list(range(after + 1, len(log.tail.entries) + 1))
    assert outlet.ends == [None]


def test_what_comes_at_once_is_a_replay_and_one_by_one_is_live() -> None:
    """A client is judged by what comes live; an outage made good must not look like sloth."""
    log, outlet = Log(), Outlet()
    begin(log, outlet)
    outlet.take_turn()
    log.append(AttemptStarted(1, "w"))
    log.append(Delta("x"))
    assert outlet.live == 2
    log.append(*[Delta("x")] * (CHUNK_ENTRIES + 1))
    assert outlet.live == 2
    while outlet.row:
        outlet.take_turn()
    log.append(Delta("x"))
    assert outlet.live == 3
    assert outlet.sequences == list(range(1, len(log.tail.entries) + 1))


def test_a_snapshot_stands_for_the_events_before_it() -> None:
    log, outlet = Log(), Outlet()
    log.append(AttemptStarted(1, "w"), Delta("a"), Delta("b"))
    subscription = begin(log, outlet, snapshot=True)
    assert subscription.position == 3
    assert b'"text":"ab"' in outlet.written
    outlet.written = b""
    outlet.take_turn()
    log.append(Delta("c"))
    log.seal()
    assert outlet.sequences == [4, 5]


def test_a_deleted_job_ends_with_a_reason() -> None:
    log, outlet = Log(), Outlet()
    begin(log, outlet)
    log.tail.deleted = True
    outlet.take_turn()
    assert [str(end) for end in outlet.ends] == ["the job was deleted"]


def test_readers_at_the_same_place_share_the_bytes() -> None:
    log = Log()
    log.append(AttemptStarted(1, "w"), Delta("a"))
    book = FeedBook()
    feed = book.feed_of(log.tail)
    assert book.feed_of(log.tail) is feed
    assert feed.shared(0) is feed.shared(0)
    assert feed.shared(1) != feed.shared(0)
    other = Tail("dev", JOB)
    assert book.feed_of(other).tail is other
