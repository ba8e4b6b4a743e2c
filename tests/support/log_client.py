"""A client of a log reader, as a task that resumes as real clients do."""

import asyncio

from tests.support.log_world import (
    Events,
    as_events,
    wait_until,
    words,
)
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.writer import LogWriter


class Client:
    """One client of a reader, as a task; `events` grows."""

    def __init__(self, reader: LogReader, job: QueuedJob, after: int = 0) -> None:
        self.events: Events = []
        self._reader, self._job, self._after = reader, job, after
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> Events:
        """Told that the platform cannot answer now, it resumes, as any client would."""
        while True:
            try:
                async for batch in self._reader.events(
                    self._job.tenant, self._job.id, self._after + len(self.events)
                ):
                    self.events += as_events(batch)
            except Unavailable:
                await asyncio.sleep(0.02)
                continue
            return self.events

    async def has(self, count: int) -> None:
        """Waits until that many events came, or the following failed."""
        await wait_until(lambda: len(self.events) >= count or self.task.done())
        assert len(self.events) >= count


def write(writer: LogWriter, count: int, *, prefix: str = "") -> None:
    for delta in words(count, prefix=prefix):
        writer.emit(delta)


async def slowly(writer: LogWriter, count: int, *, prefix: str = "") -> None:
    """So that there are many appends."""
    for delta in words(count, prefix=prefix):
        writer.emit(delta)
        await asyncio.sleep(0.001)
