"""One job's log in a reader's memory: which message to take, which to drop, where a gap is.

Pure: it decides on values; the reader does the I/O. The rules are those of the model: a live
message at or below the last one seen is dropped; one whose predecessor is not the last one seen
shows a gap; a seal carries everything, so that it closes any gap by itself.
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import msgspec

from tidegate.contracts.events import Append, CorruptLogError
from tidegate.contracts.fold import Fold
from tidegate.contracts.seal import decode_head, is_sealed, replay


class Entry(NamedTuple):
    """One stored event, its bytes as they are stored."""

    sequence: int
    at_ms: int
    attempt: int
    raw: msgspec.Raw


class Live(NamedTuple):
    """A republished message: its stream sequence, that of the subject's previous one, its bytes."""

    stream_sequence: int
    previous: int
    payload: bytes


class Verdict(Enum):
    """What became of a message."""

    TAKEN = "taken"
    DROPPED = "dropped"
    GAP = "gap"


class Tail:
    """All events of one log so far, `entries[i]` being sequence i + 1.

    `ended` once the terminal event is in; `deleted` once a tombstone was seen, after which no event
    follows. Each listener is called, without arguments, after events were taken.
    """

    def __init__(self, tenant: str, job_id: str) -> None:
        self.tenant = tenant
        self.job_id = job_id
        self.stream_sequence = 0
        self.log_start = 0
        self.entries: list[Entry] = []
        self.ended = False
        self.deleted = False
        self.bytes = 0
        self.listeners: set[Callable[[], None]] = set()

    @property
    def closed(self) -> bool:
        """Whether nothing can follow."""
        return self.ended or self.deleted

    def receive(self, live: Live) -> Verdict:
        """Takes a live message if it is the next.

        Raises:
            CorruptLogError: it is not one of a log.
        """
        if live.stream_sequence <= self.stream_sequence:
            return Verdict.DROPPED
        if live.previous != self.stream_sequence and not is_sealed(live.payload):
            return Verdict.GAP
        self.take(live.stream_sequence, live.payload)
        return Verdict.TAKEN

    def take(self, stream_sequence: int, payload: bytes) -> None:
        """Takes a stored message that follows what is here, with no message left out.

        Raises:
            CorruptLogError: it is not one of a log, or leaves a gap.
        """
        head = decode_head(payload)
        if head.tombstone:
            self.deleted = True
        elif head.first == len(self.entries) + 1:
            self._extend(head)
        else:
            for line in replay(payload):
                self._extend_new(line)
        self.stream_sequence = stream_sequence
        self.log_start = self.log_start or head.log or stream_sequence
        self.ended = self.ended or (head.job is not None and not head.tombstone)
        self.bytes += len(payload)

    def notify(self) -> None:
        """Calls every listener."""
        for listener in tuple(self.listeners):
            listener()

    def fold(self) -> Fold:
        """The fold of the events so far.

        Raises:
            CorruptLogError: an event of a known type without its fields.
        """
        folded = Fold()
        for entry in self.entries:
            folded.take(Append(entry.attempt, entry.sequence, entry.at_ms, [entry.raw]))
        return folded

    def _extend_new(self, line: Append) -> None:
        have = len(self.entries)
        if line.last <= have:
            return
        if line.first != have + 1:
            raise CorruptLogError(f"sequence {line.first} follows {have} in a stored log")
        self._extend(line)

    def _extend(self, line: Append) -> None:
        at_ms, attempt = line.at_ms, line.attempt
        self.entries.extend(
            Entry(sequence, at_ms, attempt, raw)
            for sequence, raw in enumerate(line.events, line.first)
        )
