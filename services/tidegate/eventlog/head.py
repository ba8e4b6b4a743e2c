"""Where a log stands: its last message, read from the stream's leader, and its lines."""

from dataclasses import dataclass

from tidegate.chassis.jetstream import JetStream, NoAnswerError, Stored
from tidegate.contracts.events import Append, CorruptLogError
from tidegate.contracts.seal import decode_head, is_sealed, replay
from tidegate.contracts.subjects import EVENTS_STREAM, log_subject


@dataclass(frozen=True, slots=True)
class LogHead:
    """The last message of a log; `stream_sequence` 0 and no line where none was written."""

    stream_sequence: int = 0
    line: Append | None = None
    payload: bytes = b""
    time_ms: int = 0

    @property
    def sealed(self) -> bool:
        """Whether the log has its terminal event (or was deleted after it)."""
        return is_sealed(self.payload)

    @property
    def deleted(self) -> bool:
        """Whether only a tombstone is left."""
        return self.line is not None and self.line.tombstone

    @property
    def attempts(self) -> int:
        """Attempts begun so far."""
        return 0 if self.line is None else self.line.attempt

    @property
    def lost_attempts(self) -> int:
        """Attempts that count against the job: not those handed back, nor excused."""
        return 0 if self.line is None else self.line.attempt - self.line.returned

    @property
    def last_sequence(self) -> int:
        """Sequence of the last event, 0 where there is none."""
        return 0 if self.line is None else self.line.last


def head_of(stored: Stored | None) -> LogHead:
    """The head that a stored message is.

    Raises:
        CorruptLogError: the message is not one of a log.
    """
    if stored is None:
        return LogHead()
    return LogHead(stored.sequence, decode_head(stored.payload), stored.payload, stored.time_ms)


async def read_head(jetstream: JetStream, tenant: str, job_id: str) -> LogHead:
    """The head, from the leader: what any decision to write is made on.

    Raises:
        NoAnswerError: JetStream does not answer.
        CorruptLogError: the message is not one of a log.
    """
    return head_of(await jetstream.last(EVENTS_STREAM, log_subject(tenant, job_id)))


async def read_lines(jetstream: JetStream, tenant: str, job_id: str, head: LogHead) -> list[Append]:
    """Every line up to `head`, complete or not at all.

    Raises:
        NoAnswerError: JetStream does not answer, or a replica is behind the head; read again.
        CorruptLogError: what is stored is not a log.
    """
    if head.line is None:
        return []
    if head.sealed:
        return replay(head.payload)
    subject = log_subject(tenant, job_id)
    lines: list[Append] = []
    start = head.line.log or head.stream_sequence
    while start <= head.stream_sequence:
        batch = await jetstream.direct_batch(EVENTS_STREAM, subject, start)
        lines.extend(
            decode_head(stored.payload)
            for stored in batch.messages
            if stored.sequence <= head.stream_sequence
        )
        if not batch.messages:
            break
        start = batch.messages[-1].sequence + 1
    _check_complete(lines, head)
    return lines


def _check_complete(lines: list[Append], head: LogHead) -> None:
    expected = 1
    for line in lines:
        if line.first != expected:
            raise CorruptLogError(f"sequence {line.first} follows {expected - 1}")
        expected = line.last + 1
    if expected <= head.last_sequence:
        # A replica that has not caught up, or a log sealed since the head was read.
        raise NoAnswerError(f"the log ends at {expected - 1}, its head at {head.last_sequence}")
