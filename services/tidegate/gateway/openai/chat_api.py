"""`POST /v1/chat/completions`: a job like any other, answered while the caller waits."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from tidegate.chassis.incidents import incident
from tidegate.chassis.keyring import Caller
from tidegate.chassis.patient_writer import PatientWriter
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import InternalError, TidegateError
from tidegate.contracts.events import JobState
from tidegate.contracts.jobs import JobView, new_job_id
from tidegate.gateway.creation import NewJob
from tidegate.gateway.entrance import Entrance, header
from tidegate.gateway.followers import Place
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.openai import request as asked_for
from tidegate.gateway.openai.chunks import HEARTBEAT, Chunks, error_frame
from tidegate.gateway.openai.completion import WholeCompletion
from tidegate.gateway.openai.errors import Problem, named_by_header, refused
from tidegate.gateway.openai.reading import Batches
from tidegate.gateway.openai.recent import Recent, digest_of
from tidegate.gateway.openai.request import Completion, parse_completion

_HEADERS: Final = (
    asked_for.CLASS_HEADER,
    asked_for.ON_DISCONNECT_HEADER,
    asked_for.IDEMPOTENCY_HEADER,
    asked_for.RETRY_COUNT_HEADER,
)
_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # Else nginx collects events before it passes them on.
    "X-Accel-Buffering": "no",
}
_MOMENT: Final = 0.1  # seconds
_NOT_AGAIN: Final = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Seconds: to the headers of a stream at most, between beats, to the cut of a slow reader."""

    headers: float
    heartbeat: float
    slow_reader: float


class ChatApi:
    """Chat completions, streamed and whole."""

    def __init__(
        self,
        jobs: Jobs,
        entrance: Entrance,
        recent: Recent,
        guard: TaskGuard,
        *,
        limits: StreamLimits,
        metrics: GatewayMetrics,
    ) -> None:
        self._jobs = jobs
        self._entrance = entrance
        self._recent = recent
        self._guard = guard
        self._limits = limits
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.post("/v1/chat/completions", self.complete)]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """The completion, whole or as a stream of chunks.

        Raises:
            TidegateError: as `Jobs.create` and `Jobs.follow`, before anything was sent; of
                `follow`'s with the job's id.
        """
        caller, _ = self._entrance.admit(request)
        self._jobs.check_room(caller)
        headers = {name: header(request, name) for name in _HEADERS}
        body = await self._entrance.read_json_body(request)
        asked = parse_completion(body, headers)
        with self._jobs.place(caller) as place, self._metrics.streams.track_inprogress():
            job = await self._job(caller, asked)
            async with self._batches(caller, job.id, place) as batches:
                try:
                    if asked.stream:
                        return await self._stream(request, asked, job, batches)
                    return await self._whole(asked, job, batches)
                except TidegateError as error:
                    # The job is there: whoever took this for a refusal would pay for another.
                    error.job_id = job.id
                    raise
                except asyncio.CancelledError:
                    if not batches.begun:
                        self._guard.spawn("abandoned-job", self._look_in(caller, job.id))
                    raise

    async def _job(self, caller: Caller, asked: Completion) -> JobView:
        making = asyncio.create_task(self._make(caller, asked), name="make-job")
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._guard.spawn("abandoned-job", self._abandon(caller, making))
            raise

    async def _make(self, caller: Caller, asked: Completion) -> JobView:
        new = NewJob(
            chat=asked.chat,
            request_id=asked.idempotency_key,
            job_class=asked.job_class,
            on_disconnect=asked.on_disconnect,
        )
        if asked.idempotency_key:
            try:
                return await self._jobs.create(caller, new)
            except TidegateError as error:
                raise named_by_header(error) from error.__cause__
        if asked.retry_count is None:
            return await self._jobs.create(caller, new)
        digest = digest_of(caller, asked)
        if asked.retry_count and (job_id := await self._recent.find(caller, digest)):
            job = await self._jobs.create(caller, replace(new, job_id=job_id, again=True))
            if job.state not in _NOT_AGAIN:
                self._metrics.recent_joins.inc()
                return job
        job_id = new_job_id()
        # Before it is made: a repeat may come while that is under way, or when its end is unknown.
        self._recent.remember(caller, digest, job_id)
        return await self._jobs.create(caller, replace(new, job_id=job_id))

    async def _abandon(self, caller: Caller, making: asyncio.Task[JobView]) -> None:
        """Sees to the job of a client that went while it was made."""
        await asyncio.wait((making,))
        if making.cancelled():
            return
        error = making.exception()
        if error is not None:
            if not isinstance(error, TidegateError):
                incident("abandoned job", error)
            return
        await self._look_in(caller, making.result().id)

    async def _look_in(self, caller: Caller, job_id: str) -> None:
        """Reads a job for a moment, whose client went before it is known to have read.

        A job that never had a reader has none that could leave, and would run for nobody.
        """
        with contextlib.suppress(TidegateError):
            # Not one of the bounded places, for want of which nobody would look.
            place = Place(resumable=True)
            async with self._batches(caller, job_id, place) as batches:
                await batches.next(_MOMENT)

    def _batches(self, caller: Caller, job_id: str, place: Place) -> Batches:
        return Batches(self._jobs.follow(caller, job_id, 0, place), place.wake)

    async def _whole(self, asked: Completion, job: JobView, batches: Batches) -> web.Response:
        whole = WholeCompletion(
            job.id, job.model, job.created_ms, keyed=bool(asked.idempotency_key)
        )
        while batch := await batches.next(None):
            for entry in batch:
                whole.take(entry)
        if not whole.ended:
            raise InternalError("the job's log has no end")
        if whole.problem is not None:
            return _error_response(whole.problem, job.id)
        headers = {"x-tidegate-job": job.id} | whole.provenance.headers()
        return web.Response(body=whole.body(), content_type="application/json", headers=headers)

    async def _stream(
        self, request: web.Request, asked: Completion, job: JobView, batches: Batches
    ) -> web.StreamResponse:
        chunks = Chunks(
            job.id,
            job.model,
            job.created_ms,
            include_usage=asked.include_usage,
            keyed=bool(asked.idempotency_key),
            known=job.last_sequence,
        )
        out = _Out(request, job.id, chunks.headers, self._limits, self._metrics.slow_readers.inc)
        with contextlib.closing(out):
            problem = await self._pump(chunks, batches, out)
            if problem is not None and not out.begun:
                return _error_response(problem, job.id)
            if problem is not None:
                await out.send(error_frame(problem))
            return await out.finish()

    async def _pump(self, chunks: Chunks, batches: Batches, out: "_Out") -> Problem | None:
        """Sends chunks until their end, or returns why there will not be one."""
        while not chunks.ended:
            try:
                batch = await batches.next(out.silence_left())
                if batch == []:
                    raise InternalError("the job's log has no end")
                frames = [chunks.take(entry) for entry in batch or ()]
            except TidegateError as error:
                if not out.begun:
                    raise
                return refused(error)
            if chunks.problem is not None and not out.begun:
                break
            if batch is None:
                await out.send(HEARTBEAT)
            elif data := b"".join(frames):
                await out.send(data)
        return chunks.problem


class _Out:
    """The response of a stream; its headers go out with the first thing that is sent.

    `more_headers` gives those that are known only then.
    """

    def __init__(
        self,
        request: web.Request,
        job_id: str,
        more_headers: Callable[[], Mapping[str, str]],
        limits: StreamLimits,
        on_cut: Callable[[], None],
    ) -> None:
        self.begun = False
        self._more_headers = more_headers
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        response = web.StreamResponse(headers=_STREAM_HEADERS | {"x-tidegate-job": job_id})
        self._writer = PatientWriter(request, response, seconds=limits.slow_reader, on_cut=on_cut)

    def silence_left(self) -> float:
        """Seconds that nothing may be sent yet; events that give no chunk do not put a beat off."""
        most = self._limits.heartbeat if self.begun else self._limits.headers
        return max(self._writer.spoke_at + most - self._now(), 0.0)

    async def send(self, data: bytes) -> None:
        """Send, and wait until the client has taken most of it."""
        if not self.begun:
            self.begun = True
            self._writer.response.headers.update(self._more_headers())
            await self._writer.prepare()
        await self._writer.write(data)

    async def finish(self) -> web.StreamResponse:
        """End the response."""
        await self._writer.finish()
        return self._writer.response

    def close(self) -> None:
        """Nothing is sent any more."""
        self._writer.close()


def _error_response(problem: Problem, job_id: str) -> web.Response:
    return web.Response(
        status=problem.status,
        body=problem.body,
        content_type="application/json",
        headers=problem.headers | {"x-tidegate-job": job_id},
    )
