"""One job on one socket: where the client stands, and what it gets next.

A subscription is either behind or live. Behind, it waits for its turn and gets a chunk when the
socket has room; live, it writes from within the reader's callback, without a task in between. It
falls behind when much comes at once, so that neither a replay nor an outage made good looks like a
slow client.
"""

from typing import Protocol

from opentelemetry.trace import Span

from tidegate.contracts.errors import TidegateError
from tidegate.eventlog.reader import LogReader
from tidegate.streaming import frames
from tidegate.streaming.feed import CHUNK_BYTES, CHUNK_ENTRIES, Feed


class Outlet(Protocol):
    """The socket, as its subscriptions see it. No method raises."""

    def write_live(self, data: bytes, events: int) -> None:
        """Write now, and judge whether the client keeps up."""

    def write_replay(self, data: bytes, events: int) -> None:
        """Write what the client is not to be judged by."""

    def await_turn(self, subscription: "Subscription") -> None:
        """Call `advance` when there is room."""

    def finish(self, subscription: "Subscription", problem: TidegateError | None) -> None:
        """The subscription is over."""


class Subscription:
    """Delivers the events after `position` to an outlet, each once, in order.

    Its `wake` is the listener of the job's tail. `feed` is None until the log was found. `done` and
    `waiting` (in the row for a turn) are the outlet's to set.
    """

    __slots__ = (
        "_behind",
        "_outlet",
        "_reader",
        "done",
        "events",
        "feed",
        "job_id",
        "position",
        "span",
        "waiting",
    )

    def __init__(
        self, job_id: str, position: int, outlet: Outlet, reader: LogReader, span: Span
    ) -> None:
        self.job_id = job_id
        self.position = position
        self.feed: Feed | None = None
        self.done = False
        self.events = 0
        self.span = span
        self.waiting = False
        self._behind = True
        self._outlet = outlet
        self._reader = reader

    def begin(self, feed: Feed, *, snapshot: bool) -> None:
        """Start delivering; with `snapshot`, the answer so far takes the place of its events."""
        self.feed = feed
        if snapshot:
            try:
                self.position, frame = feed.snapshot()
            except TidegateError as problem:
                self._outlet.finish(self, problem)
                return
            self._outlet.write_replay(frames.text_message(frame), 0)
        self._outlet.await_turn(self)

    def wake(self) -> None:
        """There may be news."""
        feed = self.feed
        if feed is None or self.done:
            return
        if self._behind:
            self._outlet.await_turn(self)
            return
        news = len(feed.tail.entries) - self.position
        if news <= 0:
            self._without_news(feed)
            return
        data = feed.shared(self.position) if news <= CHUNK_ENTRIES else b""
        if not data or len(data) > CHUNK_BYTES:
            self._behind = True
            self._outlet.await_turn(self)
            return
        self.position += news
        self.events += news
        self._outlet.write_live(data, news)
        if feed.tail.ended:
            self._outlet.finish(self, None)

    def advance(self) -> None:
        """Take a turn: a chunk of what is missing, or become live."""
        feed = self.feed
        if feed is None or self.done:
            return
        count, data = feed.chunk(self.position)
        if count:
            self.position += count
            self.events += count
            self._outlet.write_replay(data, count)
        if self.position < len(feed.tail.entries):
            self._outlet.await_turn(self)
            return
        self._behind = False
        self._without_news(feed)

    def _without_news(self, feed: Feed) -> None:
        if feed.tail.ended:
            self._outlet.finish(self, None)
            return
        try:
            self._reader.check(feed.tail)
        except TidegateError as problem:
            self._outlet.finish(self, problem)
