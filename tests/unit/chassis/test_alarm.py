"""A client that does not read must be cut in time, and one that reads never."""

import asyncio
import time

import pytest

from tidegate.chassis.alarm import NEVER, Alarm


@pytest.fixture
def rung() -> list[float]:
    return []


async def test_it_rings_once_and_not_before_its_time(rung: list[float]) -> None:
    loop = asyncio.get_running_loop()
    alarm, at = Alarm(lambda: rung.append(loop.time())), loop.time() + 0.02
    alarm.set(at)
    await asyncio.sleep(0.1)
    assert len(rung) == 1
    assert rung[0] >= at


async def test_one_that_is_put_off_rings_at_its_last_time(rung: list[float]) -> None:
    loop = asyncio.get_running_loop()
    alarm, done = Alarm(lambda: done.set_result(loop.time())), loop.create_future()
    begun = loop.time()
    for number in range(20):
        alarm.set(begun + 0.01 + number / 100)
    assert await done >= begun + 0.2


async def test_one_that_is_brought_forward_rings_earlier(rung: list[float]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    alarm = Alarm(lambda: done.set_result(None))
    alarm.set(loop.time() + 3600)
    alarm.set(loop.time() + 0.01)
    async with asyncio.timeout(10):
        await done


@pytest.mark.parametrize("how", ["never", "closed"])
async def test_one_that_is_called_off_does_not_ring(rung: list[float], how: str) -> None:
    loop = asyncio.get_running_loop()
    alarm = Alarm(lambda: rung.append(time.monotonic()))
    alarm.set(loop.time() + 0.02)
    if how == "never":
        alarm.set(NEVER)
    else:
        alarm.close()
    await asyncio.sleep(0.06)
    assert rung == []
    alarm.set(loop.time() + 0.01)
    await asyncio.sleep(0.05)
    assert len(rung) == (1 if how == "never" else 0)
