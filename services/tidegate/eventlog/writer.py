"""An owner's hold on a job's log: start_attempt, append, seal.

Deltas are appended by group commit without a timer: one append is in flight, and what arrives
meanwhile goes out with the next. Nothing is sent while an append is unsettled.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    Delta,
    Terminal,
    Waiting,
    encode_append,
    encode_event,
)
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.seal import SealBuilder
from tidegate.contracts.spending import HANDED_BACK, LastAttempt, last_attempt
from tidegate.contracts.subjects import log_subject
from tidegate.eventlog.appender import Appender, FencedError, UnsettledError
from tidegate.eventlog.head import LogHead, read_lines
from tidegate.eventlog.metrics import EventLogMetrics

# What a terminal event with its summary and error message may need beside the log itself.
_SEAL_RESERVE_BYTES: Final = 64 * 1024
# Beyond the deadline somebody else ends the job; nothing is gained by insisting much longer.
_INSIST_SECONDS: Final = 30.0


class OutputTooLongError(Exception):
    """The log would no longer fit into one sealing message; the text so far is kept."""


@dataclass(frozen=True, slots=True)
class LogLimits:
    """`max_bytes` of a sealing message, `result_ttl_seconds` that it is kept."""

    max_bytes: int
    result_ttl_seconds: int

    @classmethod
    def for_server(cls, max_payload: int, result_ttl_seconds: int) -> "LogLimits":
        """The limits that a server's bound on messages (bytes) implies."""
        return cls(max_payload - _SEAL_RESERVE_BYTES, result_ttl_seconds)


class LogWriter:
    """Writes one job's log from a known head on, as one owner: a worker's attempts, or a reaper.

    `clock` gives seconds since the epoch. After any FencedError or UnsettledError the writer is
    done for: `lost` is set, and every later call raises the same.
    """

    def __init__(
        self,
        jetstream: JetStream,
        job: QueuedJob,
        created_ms: int,
        head: LogHead,
        *,
        limits: LogLimits,
        metrics: EventLogMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._jetstream = jetstream
        self._job = job
        self._summary = job.summary(created_ms)
        self._head = head
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._appender = Appender(
            jetstream,
            log_subject(job.tenant, job.id),
            head.stream_sequence,
            metrics=metrics,
            clock=clock,
            give_up_at=max(clock(), self._summary.deadline_ms / 1000) + _INSIST_SECONDS,
        )
        self._attempt = head.attempts
        self._next = head.last_sequence + 1
        self._base = 0 if head.line is None else head.line.log or head.stream_sequence
        self._loaded = head.line is None
        self._returned = 0 if head.line is None else head.line.returned
        self._seal = SealBuilder()
        self._pending: list[msgspec.Raw] = []
        # Of events that are not in the seal yet: pending, or in an append under way.
        self._unpacked_bytes = 0
        self._wake = asyncio.Event()
        self._all_stored = asyncio.Event()
        self._sealing = False
        self._resting = False
        self._pump: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The newest attempt before this owner, once the log is loaded.
        self.before: LastAttempt | None = None

    @property
    def stored_sequence(self) -> int:
        """Sequence of the last event that is known to be stored."""
        return self._next - 1

    async def load(self) -> None:
        """Reads the lines before the head, which the seal will carry.

        Raises:
            NoAnswerError: JetStream does not answer, or the log moved; read the head again.
            CorruptLogError: what is stored is not a log.
        """
        lines = await read_lines(self._jetstream, self._job.tenant, self._job.id, self._head)
        self.before = last_attempt(lines)
        for line in lines:
            self._seal.add(encode_append(line))
        self._loaded = True

    async def start_attempt(self, event: AttemptStarted, *, counts: bool = True) -> None:
        """Takes the log over, or begins this owner's next attempt.

        When this returns it is stored, every older owner is fenced, and all that an attempt before
        it emitted stands before it. It must not be cancelled, but for the writer to be abandoned.
        One that does not count is excused from its beginning, whatever becomes of its owner.

        Raises:
            FencedError, UnsettledError: this owner does not have the log.
            RuntimeError: the log is sealed, or was not loaded.
        """
        self._require_open()
        await self._rest()
        if self._pending:
            # A line holds events of one attempt only.
            await self._append_pending()
        if not counts:
            self.excuse()
        self._attempt = event.attempt
        raw = encode_event(event)
        self._unpacked_bytes += len(raw) + 1
        self._pending.append(raw)
        await self._append_pending()
        self._resting = False
        self._pump = asyncio.create_task(self._run(), name=f"log-{self._job.id}")
        self._pump.add_done_callback(self._on_pump_end)

    def emit(self, event: Delta | Waiting) -> None:
        """Takes an event for the next append; costs no wait.

        Raises:
            OutputTooLongError: the log is full; seal it.
            FencedError, UnsettledError: this owner has lost the log.
            RuntimeError: the log is sealed, or about to be.
        """
        self._raise_if_lost()
        if self._sealing:
            raise RuntimeError("the log is sealed already")
        raw = encode_event(event)
        size = self._seal.max_size + self._unpacked_bytes + len(raw) + 1
        if size > self._limits.max_bytes:
            raise OutputTooLongError
        self._unpacked_bytes += len(raw) + 1
        self._pending.append(raw)
        self._all_stored.clear()
        self._wake.set()

    async def caught_up(self) -> None:
        """Returns when all that an attempt has emitted is stored: who is quicker than that waits.

        Raises:
            FencedError, UnsettledError: this owner has lost the log.
        """
        await self._all_stored.wait()
        self._raise_if_lost()

    def excuse(self) -> None:
        """The newest attempt does not count against the job, which the next append will say."""
        self._returned += 1

    async def seal(self, event: Terminal) -> None:
        """Ends the log with its one terminal event; it is stored when this returns.

        Raises:
            FencedError, UnsettledError: this owner does not have the log.
            RuntimeError: the log is sealed (or about to be) already, or was not loaded.
        """
        await self._close()
        line = self._line([*self._pending, encode_event(event)], sealing=True)
        try:
            await self._appender.append(
                self._seal.finish(line), seal_ttl_seconds=self._limits.result_ttl_seconds
            )
        except (FencedError, UnsettledError) as error:
            self._lose(error)
            raise
        self._metrics.events.inc(len(line.events))

    async def hand_back(self, *, counts: bool = False) -> None:
        """Leaves the log to another attempt; `counts` says whether the last one still does.

        Raises:
            FencedError, UnsettledError: this owner does not have the log.
            RuntimeError: the log is sealed, or about to be.
        """
        await self._close()
        if not counts:
            self.excuse()
        self._pending.append(encode_event(Waiting(HANDED_BACK)))
        await self._append_pending()

    async def abandon(self) -> None:
        """Falls silent; an append in flight may still be stored."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self.lost.done() and not self.lost.cancelled():
            self.lost.exception()  # Seen here, so that the loop does not report it.
        self.lost.cancel()

    async def _close(self) -> None:
        """Takes no more events, and returns when no append is under way."""
        self._require_open()
        self._sealing = True
        await self._rest()

    async def _rest(self) -> None:
        """Returns when no append is under way, and none will be by itself."""
        self._resting = True
        self._wake.set()
        if self._pump is not None:
            await self._pump
        self._raise_if_lost()

    async def _run(self) -> None:
        try:
            while not self._resting:
                await self._wake.wait()
                self._wake.clear()
                while self._pending and not self._resting:
                    await self._append_pending()
        except (FencedError, UnsettledError):
            return  # `lost` says so to whoever asks.

    def _on_pump_end(self, pump: asyncio.Task[None]) -> None:
        """Whatever else ends the pump loses the log too: nothing more would be stored."""
        if not pump.cancelled() and (error := pump.exception()) is not None:
            self._lose(error)

    async def _append_pending(self) -> None:
        events, self._pending = self._pending, []
        payload = encode_append(self._line(events))
        try:
            await self._appender.append(payload)
        except (FencedError, UnsettledError) as error:
            self._lose(error)
            raise
        self._seal.add(payload)
        self._unpacked_bytes -= sum(map(len, events)) + len(events)
        if not self._pending:
            self._all_stored.set()
        self._next += len(events)
        self._base = self._base or self._appender.stream_sequence
        self._metrics.events.inc(len(events))

    def _line(self, events: list[msgspec.Raw], *, sealing: bool = False) -> Append:
        return Append(
            attempt=self._attempt,
            first=self._next,
            at_ms=int(self._clock() * 1000),
            events=events,
            log=self._base,
            returned=self._returned,
            job=self._summary if sealing else None,
        )

    def _require_open(self) -> None:
        """The fence lets an owner append after its own seal; only this keeps it from doing so."""
        if self._sealing or self._head.sealed:
            raise RuntimeError("the log is sealed already")
        if not self._loaded:
            raise RuntimeError("the log before this owner was not loaded")

    def _lose(self, error: BaseException) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)
        self._all_stored.set()

    def _raise_if_lost(self) -> None:
        if self.lost.done():
            self.lost.result()
