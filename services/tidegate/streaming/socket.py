"""One client's socket: carries out what its session decides, and writes without waiting.

A frame is written straight to the connection's transport, from whichever callback has it: there is
no queue and no task per client. What waits in the transport is bounded: beyond the bound a client
that is fed live events is closed with 1013, while a replay pauses until there is room.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from tidegate.chassis.incidents import incident
from tidegate.chassis.keyring import Caller, Keyring
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import TidegateError, Unauthenticated
from tidegate.eventlog.reader import LogReader
from tidegate.streaming import closing, frames
from tidegate.streaming.closing import Close
from tidegate.streaming.feed import CHUNK_BYTES, FeedBook
from tidegate.streaming.gateway_client import GatewayClient
from tidegate.streaming.metrics import StreamingMetrics
from tidegate.streaming.requests import Cancel, Create, Subscribe, Unsubscribe
from tidegate.streaming.session import Reply, Session
from tidegate.streaming.spans import begin_stream, end_stream
from tidegate.streaming.subscription import Subscription

# Look-ups and calls under way for one socket; its next frame waits for room.
_MOST_TASKS: Final = 16
# For a client to read what waits for it and the close frame behind it.
_CLOSE_SECONDS: Final = 10.0

_Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one socket may hold: jobs, bytes; and seconds to say hello and to go on reading."""

    max_jobs: int
    buffer_bytes: int
    hello_seconds: float
    stall_seconds: float


@dataclass(frozen=True, slots=True)
class House:
    """What all sockets of a process share."""

    reader: LogReader
    feeds: FeedBook
    keyring: Keyring
    gateway: GatewayClient
    metrics: StreamingMetrics
    chassis_metrics: ChassisMetrics
    tracing: Tracing
    limits: Limits


class Socket:
    """The server's side of one connection; `authorization` is the header that it came with."""

    __slots__ = (
        "_authorization",
        "_caller",
        "_closed",
        "_connection",
        "_excess",
        "_hello",
        "_house",
        "_loop",
        "_session",
        "_stall",
        "_subscriptions",
        "_tasks",
        "_turns",
        "_turns_due",
    )

    def __init__(
        self, connection: ServerConnection, house: House, caller: Caller, authorization: str
    ) -> None:
        self._connection = connection
        self._house = house
        self._caller = caller
        self._authorization = authorization
        self._session = Session(house.limits.max_jobs)
        self._subscriptions: dict[str, Subscription] = {}
        self._turns: deque[Subscription] = deque()
        self._turns_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._excess = 0
        self._stall: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._hello = self._loop.call_later(house.limits.hello_seconds, self._on_silence)

    # What the client sends.

    async def receive(self, data: bytes) -> None:
        """Act on a message; waits only while the client has too much under way."""
        while len(self._tasks) >= _MOST_TASKS:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._closed:
            return
        if self._token_is_over():
            self.close(closing.TOKEN_OVER)
            return
        match self._session.receive(data):
            case Subscribe() as frame:
                self._subscribe(frame)
            case Unsubscribe(job_id=job_id):
                self._drop(job_id)
            case Create() as frame:
                self._spawn(partial(self._create, frame), ref=frame.ref)
            case Cancel(job_id=job_id):
                self._spawn(partial(self._cancel, job_id), job_id=job_id)
            case Reply(frame=payload):
                self.send(payload)
            case Close() as close:
                self.close(close)

    def check_key(self) -> None:
        """Close if the key behind the socket is not known any more, or its token is of no use.

        What was subscribed to before a token's end goes on: an answer may take longer than it.
        """
        if not self._house.keyring.still_knows(self._caller, self._authorization):
            self.close(closing.UNAUTHENTICATED)
        elif self._token_is_over() and not self._subscriptions:
            self.close(closing.TOKEN_OVER)

    def _token_is_over(self) -> bool:
        scope = self._caller.scope
        return scope is not None and scope.is_over(time.time())

    def _on_silence(self) -> None:
        close = self._session.when_silent()
        if close is not None:
            self.close(close)

    def _subscribe(self, frame: Subscribe) -> None:
        self._drop(frame.job_id)
        house, job_id, after = self._house, frame.job_id, frame.after_sequence
        span = begin_stream(house.tracing, "websocket", job_id, after)
        subscription = Subscription(job_id, after, self, house.reader, span)
        self._subscriptions[job_id] = subscription
        house.metrics.subscriptions.inc()
        self._spawn(partial(self._follow, subscription, frame.snapshot), job_id=job_id)

    async def _follow(self, subscription: Subscription, snapshot: bool) -> None:
        reader = self._house.reader
        try:
            self._caller.check_job(subscription.job_id)
            tail = await reader.follow(self._caller.tenant, subscription.job_id, subscription.wake)
        except TidegateError as problem:
            self.finish(subscription, problem)
            return
        if subscription.done:
            reader.leave(tail, subscription.wake)
            return
        subscription.begin(self._house.feeds.feed_of(tail), snapshot=snapshot)

    async def _create(self, frame: Create) -> None:
        job = await self._house.gateway.create(self._authorization, frame)
        self._house.metrics.commands.labels("create", "ok").inc()
        self.send(frames.created(job, frame.ref))

    async def _cancel(self, job_id: str) -> None:
        await self._house.gateway.cancel(self._authorization, job_id)
        self._house.metrics.commands.labels("cancel", "ok").inc()
        self.send(frames.cancel_accepted(job_id))

    def _spawn(self, work: _Work, *, job_id: str | None = None, ref: str | None = None) -> None:
        task = self._loop.create_task(self._guarded(work, job_id, ref))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: _Work, job_id: str | None, ref: str | None) -> None:
        try:
            await work()
        except Unauthenticated:
            self.close(closing.UNAUTHENTICATED)
        except TidegateError as problem:
            command = "create" if job_id is None else "cancel"
            self._house.metrics.commands.labels(command, problem.reason.value).inc()
            self.send(frames.error(problem, job_id=job_id, ref=ref))
        except Exception as unforeseen:
            self._house.chassis_metrics.incidents.labels("websocket").inc()
            self.send(frames.error(incident("websocket", unforeseen), job_id=job_id, ref=ref))

    # What the client gets.

    def send(self, payload: bytes) -> None:
        """Send a frame of our own."""
        self.write_live(frames.text_message(payload), 0)

    def write_live(self, data: bytes, events: int) -> None:
        """Write now; a client with more waiting than the bound is too slow."""
        if not self._write(data, events):
            return
        waiting = self._connection.transport.get_write_buffer_size()
        if waiting > self._house.limits.buffer_bytes + self._excess:
            self.close(closing.TOO_SLOW)

    def write_replay(self, data: bytes, events: int) -> None:
        """Write; what is larger than a chunk is not held against the client until it was read."""
        if self._write(data, events):
            self._excess += max(len(data) - CHUNK_BYTES, 0)

    def _write(self, data: bytes, events: int) -> bool:
        connection = self._connection
        if self._closed or connection.state is not State.OPEN or connection.transport.is_closing():
            return False
        # As websockets' own `broadcast` does, but with bytes that were framed once for all readers.
        connection.transport.write(data)
        self._house.metrics.websocket_events += events
        return True

    def await_turn(self, subscription: Subscription) -> None:
        """Put a subscription that is behind into the row, once."""
        if not subscription.waiting:
            subscription.waiting = True
            self._turns.append(subscription)
        self._plan_turn()

    def _plan_turn(self) -> None:
        if self._turns and not self._turns_due and not self._connection.paused:
            self._turns_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """One chunk for one subscription; then other sockets have their turn."""
        self._turns_due = False
        if self._turns and not self._connection.paused and not self._closed:
            subscription = self._turns.popleft()
            subscription.waiting = False
            subscription.advance()
            self._plan_turn()

    def on_full(self) -> None:
        """More waits in the transport than is good; it has to shrink in time."""
        if self._stall is None and not self._closed:
            seconds = self._house.limits.stall_seconds
            self._stall = self._loop.call_later(seconds, self.close, closing.TOO_SLOW)

    def on_room(self) -> None:
        """The client has read what was waiting."""
        self._excess = 0
        self._end_stall()
        self._plan_turn()

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # The end of a subscription, and of the socket.

    def finish(self, subscription: Subscription, problem: TidegateError | None) -> None:
        """A subscription that is over by itself: after the last event, or for a reason."""
        if subscription.done:
            return
        self._drop(subscription.job_id)
        self._session.over(subscription.job_id)
        if problem is not None:
            self.send(frames.error(problem, job_id=subscription.job_id))
        elif subscription.events == 0:
            self.send(frames.ended(subscription.job_id, subscription.position))

    def _drop(self, job_id: str) -> None:
        subscription = self._subscriptions.pop(job_id, None)
        if subscription is None:
            return
        subscription.done = True
        tail = None if subscription.feed is None else subscription.feed.tail
        if tail is not None:
            self._house.reader.leave(tail, subscription.wake)
        end_stream(subscription.span, tail, subscription.events)
        self._house.metrics.subscriptions.dec()

    def close(self, close: Close) -> None:
        """End the socket: nothing is written after the close frame."""
        if self._closed:
            return
        self.release()
        connection = self._connection
        if connection.state is State.OPEN and not connection.transport.is_closing():
            self._house.metrics.closes.labels(str(close.code)).inc()
            connection.protocol.send_close(close.code, close.reason)
            connection.send_data()
            # A client that does not even read this is not waited for.
            self._loop.call_later(_CLOSE_SECONDS, connection.transport.abort)

    def abort(self) -> None:
        """Cut the connection."""
        self.release()
        self._connection.transport.abort()

    def release(self) -> None:
        """Give back all that the socket holds; the connection is gone or going."""
        self._closed = True
        self._hello.cancel()
        self._end_stall()
        self._turns.clear()
        for job_id in tuple(self._subscriptions):
            self._drop(job_id)
        current = asyncio.current_task(self._loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()
