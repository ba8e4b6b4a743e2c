"""Whether anybody reads a job, told across the fleet: readers are counted where they are.

Each process knows its own. When its last reader of a job that has not ended leaves, it says so to
a gateway, on `left.<tenant>.<job>`; and it answers who asks on `readers.<tenant>.<job>`, as long as
it has a reader, and for a while after it lost the last one, so that nobody counts from an older
moment. (Answers have a subject of their own, `here.<tenant>.<job>`: to write into another service's
inbox is nobody's right.) `Census` is the side that asks.

It says nothing of a job that it knows to go on without readers: one that it met before the first
event, as whoever creates a job and follows it does. Of any other it does not know, for the policy
stands in the queue's message alone, which a reader of a log need not read; a gateway looks there
once, before it waits.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from nats.aio.msg import Msg

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.presence import decode_asked, encode_told
from tidegate.contracts.subjects import (
    READERS_ALL,
    here_subject,
    left_subject,
    tenant_and_job,
)
from tidegate.eventlog.reader import LogReader

# Jobs whose last reader has left, and how long ago at most, in seconds: the longest linger.
LONGEST_MEMORY: Final = 600.0
_MOST_REMEMBERED: Final = 20_000
# Of what is to be said once there is a connection again. What is above it goes on unread.
_MOST_UNSAID: Final = 20_000
_RETRY_SECONDS: Final = 0.5

_Job = tuple[str, str]


class Presence:
    """A component. Add it before whoever follows, so that it ends after them and speaks for them.

    `clock` is monotonic, in seconds.
    """

    name = "presence"

    def __init__(
        self,
        reader: LogReader,
        nats: NatsConnection,
        guard: TaskGuard,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._nats = nats
        self._guard = guard
        self._clock = clock
        self._left_at: OrderedDict[_Job, float] = OrderedDict()
        self._unsaid: dict[_Job, None] = {}
        self._news = asyncio.Event()
        self._at_end = contextlib.ExitStack()
        reader.on_abandoned = self._on_abandoned

    async def start(self) -> None:
        """Answer, and begin to tell."""
        await self._nats.client.subscribe(READERS_ALL, cb=self._answer)
        telling = self._guard.spawn_eternal(self.name, self._tell())
        self._at_end.callback(telling.cancel)

    async def stop(self, deadline: Deadline) -> None:
        """Tell of those that left last: of all, where the process drains."""
        del deadline  # one try, for without a connection nobody hears
        self._at_end.close()
        with contextlib.suppress(Unavailable):
            await self._say_all()

    def note_left(self, tenant: str, job_id: str) -> None:
        """A reader of the job has just left, here or in a process that said so."""
        now = self._clock()
        self._left_at[tenant, job_id] = now
        self._left_at.move_to_end((tenant, job_id))
        while self._left_at:
            oldest = next(iter(self._left_at.values()))
            if len(self._left_at) <= _MOST_REMEMBERED and now - oldest <= LONGEST_MEMORY:
                return
            self._left_at.popitem(last=False)

    def idle_ms(self, tenant: str, job_id: str) -> int | None:
        """Milliseconds since the last reader left; 0: there is one; None: none is known of."""
        if self._reader.is_followed(tenant, job_id):
            return 0
        left_at = self._left_at.get((tenant, job_id))
        return None if left_at is None else max(1, round((self._clock() - left_at) * 1000))

    def _on_abandoned(self, tenant: str, job_id: str) -> None:
        self.note_left(tenant, job_id)
        if len(self._unsaid) < _MOST_UNSAID:
            self._unsaid[tenant, job_id] = None
            self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._say_all()
            except Unavailable:
                self._news.set()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _say_all(self) -> None:
        while self._unsaid:
            tenant, job_id = next(iter(self._unsaid))
            if not self._reader.is_followed(tenant, job_id):
                await self._nats.publish(left_subject(tenant, job_id))
            self._unsaid.pop((tenant, job_id), None)

    async def _answer(self, message: Msg) -> None:
        job = tenant_and_job(message.subject)
        idle_ms = self.idle_ms(*job)
        if idle_ms == 0 or (idle_ms and idle_ms < decode_asked(message.data).within_ms):
            with contextlib.suppress(Unavailable):  # Nobody is there to hear it.
                await self._nats.publish(here_subject(*job), encode_told(idle_ms))
