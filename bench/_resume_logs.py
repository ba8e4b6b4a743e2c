"""The logs that bench/resume.py reads: each event stored by itself, the jobs' events in turns.

That is how a log looks whose tokens come slower than an append takes, and how a stream looks in
which many jobs run side by side.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from tests.support.log_world import LogWorld, completed
from tests.support.services import TENANT
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob, new_job_id
from tidegate.contracts.subjects import SHARDS, shard_of
from tidegate.eventlog.writer import LogWriter

_TOKEN = Delta(" token")
_AT_ONCE = 250


async def _some_at_a_time(work: Iterable[Awaitable[None]]) -> None:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Awaitable[None]) -> None:
        async with room:
            await each

    await asyncio.gather(*map(one, work))


class Logs:
    """Jobs of `events` events each, the attempt's start included."""

    def __init__(self, world: LogWorld, events: int) -> None:
        self._world = world
        self._events = events
        self._writers: dict[str, LogWriter] = {}

    async def running(self, number: int) -> list[str]:
        """So many more jobs that run: nothing more comes, and they are not ended."""
        begun = await self._begin(number)
        for _ in range(self._events - 1):
            await self._one_more(begun)
        return begun

    async def sealed(self, number: int) -> list[str]:
        """So many more jobs that have ended."""
        begun = await self._begin(number)
        for _ in range(self._events - 2):
            await self._one_more(begun)
        await _some_at_a_time(self._seal(job_id) for job_id in begun)
        return begun

    async def queued_in_each_shard(self) -> list[str]:
        """A job without a log in every shard."""
        ids: dict[int, str] = {}
        while len(ids) < SHARDS:
            job_id = new_job_id()
            ids.setdefault(shard_of(job_id), job_id)
        for job_id in ids.values():
            await self._world.queue_job(TENANT, job_id)
        return list(ids.values())

    async def abandon(self) -> None:
        """Has all writers fall silent."""
        await asyncio.gather(*(writer.abandon() for writer in self._writers.values()))

    async def _begin(self, number: int) -> list[str]:
        jobs = [await self._world.queue_job(TENANT) for _ in range(number)]
        await _some_at_a_time(self._start(job) for job in jobs)
        return [job.id for job in jobs]

    async def _start(self, job: QueuedJob) -> None:
        self._writers[job.id] = await self._world.start_attempt(job)

    async def _one_more(self, job_ids: list[str]) -> None:
        writers = [self._writers[job_id] for job_id in job_ids]
        for writer in writers:
            writer.emit(_TOKEN)
        await asyncio.gather(*(writer.caught_up() for writer in writers))

    async def _seal(self, job_id: str) -> None:
        writer = self._writers.pop(job_id)
        await writer.seal(completed())
        await writer.abandon()
