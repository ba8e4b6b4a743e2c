"""One job's frames for all sockets of the process that follow it.

Sockets that stand at the same place share the bytes: a token is spliced once, however many clients
read it. The text so far is folded once and carried forward, for late joiners.
"""

from typing import Final
from weakref import WeakValueDictionary

from tidegate.contracts.errors import InternalError
from tidegate.contracts.events import Append, CorruptLogError
from tidegate.contracts.fold import Fold
from tidegate.eventlog.tail import Tail
from tidegate.streaming import frames

# A slice of a replay; what a client gets before another has its turn.
CHUNK_BYTES: Final = 64 * 1024
# More entries than this at once is a replay too. Slicing, too, costs per entry.
CHUNK_ENTRIES: Final = 512


class Feed:
    """The frames of one tail, as WebSocket messages."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self._head = frames.head_of(tail.job_id)
        self._folded = Fold()
        self._from = self._to = -1
        self._shared = b""

    def shared(self, position: int) -> bytes:
        """Every frame after `position`, made once for all who ask from there."""
        entries = self.tail.entries
        if position != self._from or len(entries) != self._to:
            wrap, head = frames.websocket_event, self._head
            self._shared = b"".join([wrap(head, entry) for entry in entries[position:]])
            self._from, self._to = position, len(entries)
        return self._shared

    def chunk(self, position: int) -> tuple[int, bytes]:
        """Some frames after `position`, and how many they are."""
        entries = self.tail.entries[position : position + CHUNK_ENTRIES]
        return frames.take(entries, self._head, frames.websocket_event, CHUNK_BYTES)

    def snapshot(self) -> tuple[int, bytes]:
        """The answer so far as a frame, and the sequence it stands for, the terminal one left out.

        Raises:
            InternalError: the log cannot be read.
        """
        folded, tail = self._folded, self.tail
        upto = len(tail.entries) - 1 if tail.ended else len(tail.entries)
        try:
            for entry in tail.entries[folded.sequence : upto]:
                folded.take(Append(entry.attempt, entry.sequence, entry.at_ms, [entry.raw]))
        except CorruptLogError as error:
            raise InternalError("the job's log cannot be read") from error
        return folded.sequence, frames.snapshot(tail.job_id, folded)


class FeedBook:
    """The feeds in use. One that no subscription holds any more is gone."""

    def __init__(self) -> None:
        self._feeds: WeakValueDictionary[tuple[str, str], Feed] = WeakValueDictionary()

    def feed_of(self, tail: Tail) -> Feed:
        """The feed of a tail."""
        key = (tail.tenant, tail.job_id)
        feed = self._feeds.get(key)
        if feed is None or feed.tail is not tail:
            feed = self._feeds[key] = Feed(tail)
        return feed
