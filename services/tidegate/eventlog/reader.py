"""The reader: live messages of the shards that clients need, stitched to what is stored.

One subscription for each shard serves all clients of a process. A log is replayed once, into a
tail in memory; every further client of the same job reads from there. After a gap, a reconnect or
a silence the tail is compared with what is stored, for a live copy may be lost.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tidegate.chassis.jetstream import JetStream, JetStreamError, Stored
from tidegate.chassis.nats_client import NatsClient
from tidegate.contracts import subjects
from tidegate.contracts.errors import InternalError, NotFound, Unavailable
from tidegate.contracts.events import CorruptLogError
from tidegate.contracts.seal import decode_head, is_sealed
from tidegate.eventlog.held_tails import Held, forgettable, silent
from tidegate.eventlog.lookup import require_job
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.tail import Entry, Live, Tail, Verdict

_RETRY_SECONDS: Final = 0.2
# A replica that is behind is asked this often before the leader is.
_DIRECT_TRIES: Final = 2
_FIRST_READ_SECONDS: Final = 5.0
# What a client that reads slowly holds beside the log itself.
_EVENTS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Seconds of silence before a tail is verified; seconds and bytes that unread ones are kept."""

    verify_after: float = 5.0
    keep_unread: float = 30.0
    max_unread_bytes: int = 64 * 1024 * 1024


class LogReader:
    """Follows logs for the clients of one process.

    `run` has to be running for as long as anybody follows: it verifies silent tails and forgets
    unread ones. `clock` is monotonic, in seconds. `on_abandoned` may be set: it is called with
    tenant and job when the last client of a job that has not ended leaves, unless that job is known
    to go on without readers.
    """

    def __init__(
        self,
        client: NatsClient,
        jetstream: JetStream,
        *,
        metrics: EventLogMetrics,
        options: ReaderOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._jetstream = jetstream
        self._metrics = metrics
        self._options = options or ReaderOptions()
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._shards: dict[int, Subscription] = {}
        # One for each shard: who waits for one must not keep the clients of the others waiting.
        self._subscribing: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.on_abandoned: Callable[[str, str], None] = lambda _tenant, _job_id: None

    async def follow(self, tenant: str, job_id: str, listener: Callable[[], None]) -> Tail:
        """The job's tail, up to date, with the listener on it; pair it with `leave`.

        Raises:
            NotFound: there is no such job for this tenant.
            Unavailable: JetStream does not answer.
            InternalError: what is stored is not a log.
        """
        if not subjects.is_job_id(job_id):
            raise NotFound("no such job")
        key = subjects.live_subject(tenant, job_id)
        held = self._held.get(key)
        if held is not None and held.tail.closed and not await self._is_kept(held.tail):
            # Deleted or expired, and the live copy that said so was lost.
            self._held.pop(key, None)
            held = None
        if held is None:
            log = subjects.log_subject(tenant, job_id)
            await self._subscribe(subjects.shard_of(job_id), log)
            held = self._held.setdefault(key, Held(Tail(tenant, job_id), self._clock()))
        held.tail.listeners.add(listener)
        try:
            await self._first_read(held)
            held.missing = False
        except BaseException as error:
            # Who gives up before it is known may leave a job behind; who asks at random does not.
            held.missing = isinstance(error, NotFound)
            self.leave(held.tail, listener)
            raise
        return held.tail

    def leave(self, tail: Tail, listener: Callable[[], None]) -> None:
        """Takes a listener off; a tail without any is forgotten after a while."""
        tail.listeners.discard(listener)
        held = self._held.get(subjects.live_subject(tail.tenant, tail.job_id))
        if held is not None:
            held.touched = self._clock()
            if held.abandoned:
                self.on_abandoned(tail.tenant, tail.job_id)

    def is_followed(self, tenant: str, job_id: str) -> bool:
        """Whether a client follows the job here, or is about to."""
        held = self._held.get(subjects.live_subject(tenant, job_id))
        return held is not None and bool(held.tail.listeners)

    async def events(
        self,
        tenant: str,
        job_id: str,
        after_sequence: int,
        *,
        wake: asyncio.Event | None = None,
        before_wait: Callable[[], None] | None = None,
    ) -> AsyncGenerator[list[Entry], None]:
        """The events after a sequence, in batches, until the terminal one.

        Where there are none yet, `before_wait` is called, which may raise to end it; whoever sets
        `wake` has it called again, after an empty batch.

        Raises:
            NotFound, Unavailable, InternalError: as `follow`; NotFound also when it is deleted.
        """
        wake = wake or asyncio.Event()
        tail = await self.follow(tenant, job_id, wake.set)
        position = after_sequence
        try:
            while True:
                if batch := tail.entries[position : position + _EVENTS_AT_ONCE]:
                    position += len(batch)
                    yield batch
                    continue
                if tail.ended:
                    return
                if before_wait is not None:
                    before_wait()
                self.check(tail)
                await wake.wait()
                wake.clear()
                if position >= len(tail.entries):
                    yield []
        finally:
            self.leave(tail, wake.set)

    def check(self, tail: Tail) -> None:
        """Says why a tail without news will have none.

        Raises:
            NotFound: the job was deleted.
            InternalError: its log cannot be read.
        """
        if tail.deleted:
            raise NotFound("the job was deleted")
        held = self._held.get(subjects.live_subject(tail.tenant, tail.job_id))
        if held is not None and held.corrupt:
            raise InternalError("the job's log cannot be read")

    async def run(self) -> None:
        """Verifies silent tails and forgets unread ones, for ever."""
        while True:
            await asyncio.sleep(min(1.0, self._options.verify_after / 2))
            self._forget()
            await self._leave_shards()
            for held in silent(self._held.values(), self._clock() - self._options.verify_after):
                self._start_repair(held, "idle")

    def verify_all(self) -> None:
        """Verifies every live tail; call it after a reconnect."""
        for held in self._held.values():
            if not held.tail.closed:
                self._start_repair(held, "reconnect")

    async def stop(self) -> None:
        """Ends all reading."""
        repairs = [held.repair for held in self._held.values() if held.repair is not None]
        for repair in repairs:
            repair.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        self._held.clear()

    async def _is_kept(self, tail: Tail) -> bool:
        """Whether an ended log is still what is stored; taken to be while nobody answers."""
        subject = subjects.log_subject(tail.tenant, tail.job_id)
        try:
            last = await self._jetstream.direct_last(subjects.EVENTS_STREAM, subject)
        except JetStreamError:
            return True
        return last is not None and last.sequence <= tail.stream_sequence

    # Live.

    async def _subscribe(self, shard: int, log: str) -> None:
        async with self._subscribing[shard]:
            if shard in self._shards:
                return
            try:
                subscription = await self._client.listen(subjects.live_shard(shard), self._on_live)
                try:
                    # Whoever answers this knows of the subscription: nothing stored after the
                    # replay began can be missed. (The library's own flush is no choice: once it
                    # timed out, the late answer ends the library's read loop.)
                    await self._jetstream.last(subjects.EVENTS_STREAM, log)
                except BaseException:
                    # Else the library renews it after the outage, beside the next one.
                    await subscription.unsubscribe()
                    raise
            except (NatsError, JetStreamError) as error:
                raise Unavailable("the event log does not answer", retry_after=1.0) from error
            self._shards[shard] = subscription

    def _on_live(self, message: Msg) -> None:
        held = self._held.get(message.subject)
        if held is None:
            return
        headers = message.headers or {}
        live = Live(
            int(headers[subjects.STREAM_SEQUENCE]),
            int(headers[subjects.PREVIOUS_STREAM_SEQUENCE]),
            message.data,
        )
        held.touched = self._clock()
        if held.repair is not None:
            held.early.append(live)
            return
        if self._receive(held, live) is Verdict.GAP:
            held.early.append(live)
            self._start_repair(held, "gap")

    def _receive(self, held: Held, live: Live) -> Verdict:
        try:
            verdict = held.tail.receive(live)
        except CorruptLogError:
            held.corrupt = True
            held.tail.notify()
            return Verdict.DROPPED
        if verdict is Verdict.TAKEN:
            self._metrics.received.inc()
            held.tail.notify()
        return verdict

    # Stored.

    async def _first_read(self, held: Held) -> None:
        if held.tail.stream_sequence == 0 and not held.tail.closed:
            await self._await_repair(held)
        self.check(held.tail)
        if held.tail.stream_sequence == 0:
            # Nothing written yet, or nothing known: the queue tells which.
            try:
                found = await require_job(self._jetstream, held.tail.tenant, held.tail.job_id)
            except CorruptLogError as error:
                raise InternalError("the job cannot be read") from error
            if found.queued is not None:
                held.detached = found.queued.on_disconnect == "detach"
            if found.head.line is not None:
                await self._await_repair(held)
        self.check(held.tail)

    async def _await_repair(self, held: Held) -> None:
        self._start_repair(held, "first")
        if held.repair is None:
            return
        try:
            async with asyncio.timeout(_FIRST_READ_SECONDS):
                await asyncio.shield(held.repair)
        except TimeoutError as error:
            raise Unavailable("the event log does not answer", retry_after=1.0) from error

    def _start_repair(self, held: Held, cause: str) -> None:
        if held.repair is None:
            self._metrics.repairs.labels(cause).inc()
            held.touched = self._clock()
            held.repair = asyncio.create_task(self._repair(held), name=f"repair-{held.tail.job_id}")

    async def _repair(self, held: Held) -> None:
        """Replays until what is stored and what came live join without a gap."""
        tries = 0
        try:
            while True:
                from_leader = tries >= _DIRECT_TRIES
                known = frozenset(held.early)
                try:
                    await self._replay(held.tail, from_leader=from_leader)
                except JetStreamError:
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if self._drain_early(held):
                    return
                tries += 1
                if from_leader:
                    # The leader has no more that joins them: they are of a log that is gone.
                    held.early = [live for live in held.early if live not in known]
        except CorruptLogError:
            held.corrupt = True
        finally:
            held.repair = None
            held.tail.notify()

    def _drain_early(self, held: Held) -> bool:
        """Takes what came live meanwhile; False if there still is a gap before some of it."""
        held.early.sort()
        while held.early:
            if held.tail.receive(held.early[0]) is Verdict.GAP:
                return False
            held.early.pop(0)
        return True

    async def _replay(self, tail: Tail, *, from_leader: bool) -> None:
        subject = subjects.log_subject(tail.tenant, tail.job_id)
        last = await self._last(subject, from_leader=from_leader)
        if last is None or last.sequence <= tail.stream_sequence:
            return
        if is_sealed(last.payload):
            tail.take(last.sequence, last.payload)
            return
        first_read = tail.stream_sequence == 0
        start = decode_head(last.payload).log if first_read else tail.stream_sequence + 1
        async for stored in self._stored(subject, start or last.sequence, from_leader=from_leader):
            if stored.sequence > tail.stream_sequence:
                tail.take(stored.sequence, stored.payload)

    async def _last(self, subject: str, *, from_leader: bool) -> Stored | None:
        if from_leader:
            return await self._jetstream.last(subjects.EVENTS_STREAM, subject)
        return await self._jetstream.direct_last(subjects.EVENTS_STREAM, subject)

    async def _stored(
        self, subject: str, start: int, *, from_leader: bool
    ) -> AsyncIterator[Stored]:
        stream = subjects.EVENTS_STREAM
        while True:
            if from_leader:
                one = await self._jetstream.next(stream, subject, start)
                messages = [] if one is None else [one]
                more = bool(messages)
            else:
                batch = await self._jetstream.direct_batch(stream, subject, start)
                messages, more = batch.messages, batch.pending > 0
            for stored in messages:
                yield stored
                start = stored.sequence + 1
            if not (messages and more):
                return

    # Forgetting.

    def _forget(self) -> None:
        options = self._options
        before = self._clock() - options.keep_unread
        for key in tuple(forgettable(self._held, before, options.max_unread_bytes)):
            del self._held[key]
        self._metrics.tails.set(len(self._held))

    async def _leave_shards(self) -> None:
        for shard in self._shards.keys() - self._needed():
            async with self._subscribing[shard]:
                # Looked at anew: a client may have come while this waited for its turn.
                if shard in self._shards and shard not in self._needed():
                    await self._leave_shard(shard)

    async def _leave_shard(self, shard: int) -> None:
        subscription = self._shards.pop(shard)
        try:
            await subscription.unsubscribe()
        except NatsError:
            self._shards[shard] = subscription  # Not connected: at the next round.

    def _needed(self) -> set[int]:
        return {subjects.shard_of(held.tail.job_id) for held in self._held.values()}
