"""Without these a stop could lose work, hang, or close what others still need."""

import asyncio

import pytest

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.lifecycle import Lifecycle
from tidegate.chassis.settings import DrainSettings
from tidegate.chassis.tasks import ServiceFault


class Part:
    """Writes down what happens to it."""

    def __init__(self, name: str, diary: list[str], health: Health | None = None) -> None:
        self.name = name
        self.diary = diary
        self.health = health

    async def start(self) -> None:
        self.diary.append(f"+{self.name}")

    async def stop(self, deadline: Deadline) -> None:
        assert deadline.remaining() >= 0
        ready = "" if self.health is None else f" {self.health.ready}"
        self.diary.append(f"-{self.name}{ready}")


class Hanging(Part):
    """Waits for something that never comes when it starts, or when it stops."""

    def __init__(self, name: str, diary: list[str], when: str) -> None:
        super().__init__(name, diary)
        self.when = when
        self.waiting = asyncio.Event()

    async def start(self) -> None:
        await super().start()
        await self._hang("start")

    async def stop(self, deadline: Deadline) -> None:
        await super().stop(deadline)
        await self._hang("stop")

    async def _hang(self, when: str) -> None:
        if when == self.when:
            self.waiting.set()
            await asyncio.Event().wait()


class Failing(Part):
    """Raises when it starts, or when it stops."""

    def __init__(self, name: str, diary: list[str], error: Exception, when: str) -> None:
        super().__init__(name, diary)
        self.error = error
        self.when = when

    async def start(self) -> None:
        if self.when == "start":
            raise self.error
        await super().start()

    async def stop(self, deadline: Deadline) -> None:
        await super().stop(deadline)
        if self.when == "stop":
            raise self.error


def make(health: Health, *, drain: float = 5.0) -> Lifecycle:
    return Lifecycle(DrainSettings(drain_seconds=drain), health)


async def test_starts_in_order_and_drains_in_reverse_after_readiness_is_withdrawn() -> None:
    diary: list[str] = []
    health = Health()
    lifecycle = make(health)
    lifecycle.add(Part("nats", diary), Part("http", diary, health))
    assert health.failing == {"lifecycle": "starting"}
    async with lifecycle:
        assert health.ready
    assert diary == ["+nats", "+http", "-http False", "-nats"]


async def test_a_part_that_will_not_stop_does_not_keep_the_others_open() -> None:
    diary: list[str] = []
    lifecycle = make(Health(), drain=0.01)
    lifecycle.add(Part("nats", diary), Hanging("http", diary, "stop"))
    async with lifecycle:
        pass
    assert diary == ["+nats", "+http", "-http", "-nats"]


async def test_a_signal_while_a_part_still_waits_for_its_server_ends_it_cleanly() -> None:
    diary: list[str] = []
    health = Health()
    waiting = Hanging("nats", diary, "start")
    lifecycle = make(health)
    lifecycle.add(Part("health", diary), waiting, Part("http", diary))
    running = asyncio.create_task(lifecycle.run())
    await waiting.waiting.wait()
    assert not health.ready
    lifecycle.request_stop()
    await running
    assert diary == ["+health", "+nats", "-nats", "-health"]


async def test_a_fault_drains_and_is_raised() -> None:
    diary: list[str] = []
    lifecycle = make(Health())
    lifecycle.add(Part("http", diary))
    running = asyncio.create_task(lifecycle.run())
    lifecycle.guard.fail("nats", "refused")
    with pytest.raises(ServiceFault, match="nats: refused"):
        await running
    assert diary in (["+http", "-http"], [])


async def test_a_part_that_cannot_start_is_named_and_the_started_are_stopped() -> None:
    diary: list[str] = []
    lifecycle = make(Health())
    fault = ServiceFault("http", "cannot listen")
    lifecycle.add(Part("nats", diary), Failing("http", diary, fault, "start"))
    with pytest.raises(ServiceFault, match="http: cannot listen"):
        await lifecycle.run()
    assert diary == ["+nats", "-http", "-nats"]


async def test_an_unforeseen_error_at_the_start_is_a_fault_of_that_part() -> None:
    diary: list[str] = []
    lifecycle = make(Health())
    lifecycle.add(Failing("cache", diary, ValueError("x"), "start"))
    with pytest.raises(ServiceFault, match="cache: could not start: ValueError"):
        await lifecycle.run()


async def test_a_part_that_fails_to_stop_is_told_and_the_others_still_stop() -> None:
    diary: list[str] = []
    lifecycle = make(Health())
    lifecycle.add(Part("nats", diary), Failing("http", diary, ValueError("x"), "stop"))
    running = asyncio.create_task(lifecycle.run())
    lifecycle.request_stop()
    with pytest.raises(ServiceFault, match="http: could not stop"):
        await running
    assert diary[-2:] == ["-http", "-nats"]


async def test_background_tasks_end_with_the_process() -> None:
    lifecycle = make(Health())
    async with lifecycle:
        task = lifecycle.guard.spawn_eternal("reaper", asyncio.Event().wait())
        await asyncio.sleep(0)
    assert task.cancelled()
    assert lifecycle.guard.fault is None


async def test_traffic_may_still_come_while_balancers_take_notice() -> None:
    diary: list[str] = []
    health = Health()
    lifecycle = Lifecycle(DrainSettings(drain_seconds=5, drain_notice_seconds=0.05), health)
    lifecycle.add(Part("http", diary))
    await lifecycle.start()
    gone = asyncio.Event()
    health.subscribe(lambda ready: None if ready else gone.set())
    stopping = asyncio.create_task(lifecycle.stop())
    await gone.wait()
    assert diary == ["+http"]
    await stopping
    assert diary == ["+http", "-http"]
