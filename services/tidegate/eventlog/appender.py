"""One fenced append after another, each settled before the next.

An append whose acknowledgement is lost may still be stored, even later. It is sent again as it is,
byte for byte and with the same fence, until JetStream acknowledges it or refuses it. Refused, the
log's last message, read from the leader, tells: my bytes, so it was stored; other bytes, so a newer
owner has the log and I am fenced.
"""

from collections.abc import Callable
from typing import Final

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.jetstream import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    WRONG_LAST_SEQUENCE,
    JetStream,
    JetStreamError,
    NoAnswerError,
    RefusedError,
    TooLargeError,
)
from tidegate.contracts.subjects import EVENTS_STREAM, MESSAGE_TTL, ROLLUP
from tidegate.eventlog.metrics import EventLogMetrics

_BACKOFF: Final = Backoff(0.05, 1.0)


class FencedError(Exception):
    """Another writer owns the log: fall silent, and neither ack, nak, term nor keep alive."""


class UnsettledError(Exception):
    """JetStream did not settle an append in time, or will never take it.

    Whoever reads the log next finds the truth.
    """


class Appender:
    """Appends to one log. `stream_sequence` is that of the log's last message as this owner knows.

    `give_up_at` is a time of `clock` (seconds) after which an unsettled append raises.
    """

    def __init__(
        self,
        jetstream: JetStream,
        subject: str,
        stream_sequence: int,
        *,
        metrics: EventLogMetrics,
        clock: Callable[[], float],
        give_up_at: float,
    ) -> None:
        self._jetstream = jetstream
        self._subject = subject
        self._metrics = metrics
        self._clock = clock
        self._give_up_at = give_up_at
        self.stream_sequence = stream_sequence

    async def append(self, payload: bytes, *, seal_ttl_seconds: int | None = None) -> None:
        """Stores one message, as a seal that replaces the log where a time to live is given.

        Raises:
            FencedError: another writer's message is the log's last.
            UnsettledError: not known by `give_up_at`, or refused for good.
        """
        headers = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(self.stream_sequence)}
        if seal_ttl_seconds is not None:
            headers |= {ROLLUP: "sub", MESSAGE_TTL: f"{seal_ttl_seconds}s"}
        tries = 0
        while True:
            try:
                self.stream_sequence = await self._try(payload, headers)
            except (NoAnswerError, RefusedError, TooLargeError) as error:
                if not _passes(error):
                    raise UnsettledError(str(error)) from error
                await self._pause(tries)
                tries += 1
            else:
                self._metrics.appends.inc()
                return

    async def _try(self, payload: bytes, headers: dict[str, str]) -> int:
        try:
            return await self._jetstream.publish(self._subject, payload, headers)
        except RefusedError as error:
            if error.code != WRONG_LAST_SEQUENCE:
                raise
        return await self._settle(payload)

    async def _settle(self, payload: bytes) -> int:
        last = await self._jetstream.last(EVENTS_STREAM, self._subject)
        if last is not None and last.payload == payload:
            return last.sequence
        self._metrics.fenced.inc()
        raise FencedError(self._subject.rsplit(".", 1)[-1])

    async def _pause(self, tries: int) -> None:
        if self._clock() >= self._give_up_at:
            raise UnsettledError(self._subject.rsplit(".", 1)[-1])
        self._metrics.retries.inc()
        await _BACKOFF.pause(tries)


def _passes(error: JetStreamError) -> bool:
    """Whether the same append may be taken a moment later: no leader, no room, no answer."""
    return isinstance(error, NoAnswerError) or (isinstance(error, RefusedError) and error.passes)
