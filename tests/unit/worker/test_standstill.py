"""A process that stood still does not take what it finds on its socket for new."""

import asyncio

from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.queue_consumers import ACK_WAIT_SECONDS
from tidegate.worker.standstill import Standstill


class _Connection:
    """A ping that is answered when the test says so; the first `failures` of them never are."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()

    async def flush(self, *, timeout: float) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("no answer")
        self.asked.set()
        await self.answered.wait()


class _World:
    def __init__(self, failures: int = 0) -> None:
        self.now = 100.0
        self.connection = _Connection(failures)
        self.standstill = Standstill(self.connection, TaskGuard(), clock=lambda: self.now)


async def test_deliveries_are_believed_while_the_clock_is_looked_at_in_time() -> None:
    world = _World()
    for _ in range(5):
        world.now += ACK_WAIT_SECONDS / 2 - 0.1
        assert not world.standstill.doubtful
        await world.standstill.tick()
    assert not world.connection.asked.is_set()


async def test_what_is_read_before_the_clock_was_looked_at_is_in_doubt() -> None:
    """Sockets are read before timers run: the first of them must be caught."""
    world = _World()
    world.now += ACK_WAIT_SECONDS / 2
    assert world.standstill.doubtful


async def test_doubt_ends_with_the_answer_to_a_ping_and_not_before() -> None:
    world = _World(failures=1)
    heard = asyncio.Event()

    async def hook() -> None:
        heard.set()

    world.standstill.on_end(hook)
    world.now += 3600
    async with asyncio.timeout(10):
        ticking = asyncio.create_task(world.standstill.tick())
        await world.connection.asked.wait()
        await heard.wait()
        assert world.standstill.doubtful
        # That it waited for the answer is not taken for another stand-still.
        world.now += ACK_WAIT_SECONDS
        world.connection.answered.set()
        await ticking
    assert not world.standstill.doubtful
