"""Server-sent events: one job's log as an HTTP response, for browsers and for curl.

`GET /v1/jobs/{id}/events` after `Last-Event-ID` or `?after_sequence=`. Each event is unnamed, its
id is its sequence, its data the frame that a WebSocket would carry. The response ends after the
terminal event. Where it ends before that (a drain, a slow client, a deleted job), nothing is said:
clients connect again with the last id, as they do after any cut. 204 tells them to stay away: the
job has ended and nothing is left.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from tidegate.chassis.alarm import Alarm
from tidegate.chassis.http_cors import Origins, install_cors
from tidegate.chassis.http_errors import install_http_errors
from tidegate.chassis.http_request import only_value
from tidegate.chassis.keyring import Caller, Keyring
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.patient_writer import PatientWriter
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import Reason, ResourceExhausted, TidegateError
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.tail import Tail
from tidegate.streaming import frames
from tidegate.streaming.feed import CHUNK_BYTES, CHUNK_ENTRIES
from tidegate.streaming.metrics import StreamingMetrics
from tidegate.streaming.positions import start_of
from tidegate.streaming.spans import begin_stream, end_stream

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Else nginx collects events before it passes them on.
    "X-Accel-Buffering": "no",
}


@dataclass(frozen=True, slots=True)
class SseLimits:
    """Streams per process; seconds to a beat, to a cut of a stalled client, of a drain's spread."""

    max_streams: int
    heartbeat_seconds: float
    stall_seconds: float
    spread_seconds: float


class SseApi:
    """The route and its streams."""

    def __init__(
        self,
        reader: LogReader,
        keyring: Keyring,
        *,
        limits: SseLimits,
        metrics: StreamingMetrics,
        tracing: Tracing,
    ) -> None:
        self._reader = reader
        self._keyring = keyring
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing
        self._streams: set[_Stream] = set()
        self._taken = 0

    def app(self, chassis_metrics: ChassisMetrics, origins: Origins) -> web.Application:
        """The aiohttp application. Its streams end when it shuts down."""

        async def drain(_: web.Application) -> None:
            loop = asyncio.get_running_loop()
            for stream in self._streams:
                loop.call_later(random.uniform(0, self._limits.spread_seconds), stream.leave)

        app = web.Application()
        app.router.add_get("/v1/jobs/{job_id}/events", self.events, allow_head=False)
        app.on_shutdown.append(drain)
        install_cors(app, origins)
        install_http_errors(app, chassis_metrics, self._tracing)
        return app

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The stream of one job.

        Raises:
            InvalidRequest, Unauthenticated, NotFound, ResourceExhausted, Unavailable: before it.
        """
        after = start_of(request.query.items(), request.headers)
        given = only_value("Authorization", request.headers.getall("Authorization", []))
        authorization = given or ""
        caller = self._keyring.authenticate_reader(authorization)
        caller.check_job(request.match_info["job_id"])
        if self._taken >= self._limits.max_streams:
            raise ResourceExhausted(
                "this process has too many streams", reason=Reason.TOO_MANY_STREAMS, retry_after=1.0
            )
        self._taken += 1
        self._metrics.streams.set(self._taken)
        try:
            return await self._serve(request, caller, authorization, after)
        finally:
            self._taken -= 1
            self._metrics.streams.set(self._taken)

    async def _serve(
        self, request: web.Request, caller: Caller, authorization: str, after: int
    ) -> web.StreamResponse:
        job_id, wake = request.match_info["job_id"], asyncio.Event()
        tail = await self._reader.follow(caller.tenant, job_id, wake.set)
        stream = _Stream(
            request, tail, wake, after, limits=self._limits, on_cut=self._metrics.sse_cut.inc
        )
        span = begin_stream(self._tracing, "sse", job_id, after)
        self._streams.add(stream)
        try:
            if stream.finished:
                return web.Response(status=204)
            await stream.open()
            await self._pump(stream, caller, authorization)
            return stream.response
        finally:
            self._reader.leave(tail, wake.set)
            stream.close()
            self._streams.discard(stream)
            self._metrics.sse_events += stream.events
            end_stream(span, tail, stream.events)

    async def _pump(self, stream: "_Stream", caller: Caller, authorization: str) -> None:
        """Until the terminal event, or until nothing more is to come over this stream."""
        try:
            while not (stream.finished or stream.leaving):
                if await stream.send_news() or stream.finished:
                    continue
                if not self._may_go_on(stream, caller, authorization):
                    break
                await stream.news_or_beat()
            await stream.write_end()
        except ConnectionResetError:
            # A client may go as soon as it has the terminal event, before the stream's own end.
            stream.leaving = True

    def _may_go_on(self, stream: "_Stream", caller: Caller, authorization: str) -> bool:
        """Not once the job was deleted, or the key taken away; the next request says so."""
        try:
            self._reader.check(stream.tail)
        except TidegateError:
            return False
        return self._keyring.still_knows(caller, authorization)


class _Stream:
    """One response and where its client stands; `on_cut` hears that it did not read."""

    def __init__(
        self,
        request: web.Request,
        tail: Tail,
        wake: asyncio.Event,
        after: int,
        *,
        limits: SseLimits,
        on_cut: Callable[[], None],
    ) -> None:
        self.tail = tail
        self.events = 0
        self.leaving = False
        self.response = web.StreamResponse(headers=_HEADERS)
        self._writer = PatientWriter(
            request, self.response, seconds=limits.stall_seconds, on_cut=on_cut
        )
        self._wake = wake
        self._position = after
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        self._silence = Alarm(wake.set)
        self._head = frames.head_of(tail.job_id)

    @property
    def finished(self) -> bool:
        """Whether the job has ended and the client has all of it."""
        return self.tail.ended and self._position >= len(self.tail.entries)

    async def open(self) -> None:
        """Send the headers, with a beat where there is nothing else yet, so that they go out."""
        await self._writer.prepare()
        if self._position >= len(self.tail.entries):
            await self.beat()

    async def beat(self) -> None:
        """Send a comment, which keeps the connection open."""
        await self._writer.write(frames.HEARTBEAT)

    async def send_news(self) -> bool:
        """Send a chunk of what is new, if anything is; waits while the client does not read."""
        entries = self.tail.entries[self._position : self._position + CHUNK_ENTRIES]
        if not entries:
            return False
        count, data = frames.take(entries, self._head, frames.sse_event, CHUNK_BYTES)
        await self._writer.write(data)
        self._position += count
        self.events += count
        if self._position < len(self.tail.entries):
            # Others have their turn between two chunks of a replay.
            await asyncio.sleep(0)
        return True

    async def news_or_beat(self) -> None:
        """Wait to be woken; whatever wakes us without news does not put the beat off."""
        beat_at = self._writer.spoke_at + self._limits.heartbeat_seconds
        self._silence.set(beat_at)
        await self._wake.wait()
        self._wake.clear()
        if self._now() >= beat_at and self._position >= len(self.tail.entries):
            await self.beat()

    async def write_end(self) -> None:
        """End the response."""
        await self._writer.finish()

    def leave(self) -> None:
        """End the response when what is under way is written."""
        self.leaving = True
        self._wake.set()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._writer.close()
        self._silence.close()
