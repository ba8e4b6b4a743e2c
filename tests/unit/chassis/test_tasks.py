"""Without these a background loop could die and the process go on as if it still worked."""

import asyncio

from tidegate.chassis.tasks import TaskGuard, cancel_and_wait


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


async def failing() -> None:
    raise ValueError("secret")


async def test_an_eternal_task_that_ends_is_a_fault() -> None:
    guard = TaskGuard()
    guard.spawn_eternal("reaper", nothing())
    fault = await guard.wait_fault()
    assert fault.name == "reaper"
    assert "has ended" in fault.message


async def test_an_eternal_task_that_raises_is_a_fault_with_its_cause() -> None:
    guard = TaskGuard()
    guard.spawn_eternal("reaper", failing())
    fault = await guard.wait_fault()
    assert isinstance(fault.__cause__, ValueError)
    assert "secret" not in str(fault)


async def test_work_may_end_but_not_raise() -> None:
    guard = TaskGuard()
    await guard.spawn("once", nothing())
    assert guard.fault is None
    guard.spawn("once", failing())
    assert (await guard.wait_fault()).name == "once"


async def test_the_first_fault_is_the_one_told() -> None:
    guard = TaskGuard()
    guard.fail("first", "a")
    guard.fail("second", "b")
    assert (await guard.wait_fault()).name == "first"


async def test_an_owner_may_cancel_its_own_task() -> None:
    guard = TaskGuard()
    task = guard.spawn_eternal("pull", forever())
    assert await cancel_and_wait({task}, 1) == []
    assert guard.fault is None


async def test_the_end_cancels_all_and_is_no_fault() -> None:
    guard = TaskGuard()
    tasks = [guard.spawn_eternal(str(n), forever()) for n in range(3)]
    assert await guard.cancel_all() == []
    assert all(task.cancelled() for task in tasks)
    assert guard.fault is None


async def test_a_task_that_will_not_end_is_named_and_does_not_hold_up() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    guard = TaskGuard()
    task = guard.spawn_eternal("stubborn", stubborn())
    await asyncio.sleep(0)
    assert await guard.cancel_all(timeout=0.01) == ["stubborn"]
    release.set()
    await task
