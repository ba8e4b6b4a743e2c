"""The OpenAI door in tests: who plays the worker behind it, and what a client makes of a stream."""

import json

from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tidegate.contracts.events import CacheMark, Completed, Delta, Failed, Timings, Usage
from tidegate.contracts.subjects import JOBS_STREAM
from tidegate.eventlog.writer import LogWriter

URL = "/v1/chat/completions"
STREAM = CHAT | {"stream": True}


async def next_job(world: GatewayWorld, after: int = 0) -> str:
    """The id of the job that was queued after so many others."""

    async def look() -> str:
        stored = await world.peer.jetstream.next(JOBS_STREAM, "jobs.>", after + 1)
        return "" if stored is None else stored.subject.rsplit(".", 1)[1]

    return await until(look)


async def playing(
    world: GatewayWorld, after: int = 0, cache: CacheMark | None = None
) -> tuple[str, LogWriter]:
    """Waits for the job and takes it as a worker does."""
    job_id = await next_job(world, after)
    return job_id, await world.worker_plays(job_id, cache)


async def answering(world: GatewayWorld, *words: str, after: int = 0) -> str:
    """A worker that answers the next job."""
    job_id, writer = await playing(world, after)
    for word in words:
        writer.emit(Delta(word))
    await writer.seal(completed())
    return job_id


async def hitting(world: GatewayWorld, mark: CacheMark, *words: str, after: int = 0) -> str:
    """A worker that finds the next job's answer in the cache, where it had cost 63,000 nano-USD."""
    job_id, writer = await playing(world, after, mark)
    for word in words:
        writer.emit(Delta(word))
    await writer.seal(Completed(["stop"], Usage(), Timings(1, 2, 3), 0, saved_nano_usd=63_000))
    return job_id


async def failing(world: GatewayWorld, failed: Failed, *words: str, after: int = 0) -> str:
    """A worker whose provider fails after some words."""
    job_id, writer = await playing(world, after)
    for word in words:
        writer.emit(Delta(word))
    await writer.seal(failed)
    return job_id


def text_of(lines: list[bytes]) -> str:
    """The text in the lines of a stream."""
    frames = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    choices = [choice for frame in frames for choice in frame.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
