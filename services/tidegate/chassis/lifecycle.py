"""The start, the drain and the end of a process.

Components start in the order in which they were added and stop in reverse. SIGTERM or SIGINT, or a
fault seen by the guard, begins the drain: readiness is withdrawn first, then each component stops,
all of them within one deadline. A second signal ends the process at once.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import NoReturn

import structlog
import uvloop

from tidegate.chassis.component import Component, Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.logs import log_loop_error
from tidegate.chassis.settings import DrainSettings, SettingsError
from tidegate.chassis.tasks import ServiceFault, TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

# What a component may still take to close its sockets after the deadline has passed.
FORCED_STOP_SECONDS = 0.25


class Lifecycle:
    """Starts components in order and drains them in reverse.

    `guard` is where components spawn their tasks. `run` is for processes; tests and compositions
    without signals use `start` and `stop`, or `async with lifecycle:`.
    """

    def __init__(
        self, settings: DrainSettings, health: Health, guard: TaskGuard | None = None
    ) -> None:
        self._settings = settings
        self._health = health
        self._components: list[Component] = []
        self._begun: list[Component] = []
        self._ended = asyncio.Event()
        self.guard = guard or TaskGuard()
        health.set("lifecycle", False, "starting")

    def add(self, *components: Component) -> None:
        """Add components, in the order in which they start."""
        self._components.extend(components)

    def request_stop(self) -> None:
        """Begin the drain, as the first signal does."""
        self._ended.set()

    async def run(self) -> None:
        """Start, serve until a signal or a fault, drain. Raises ServiceFault if there was one."""
        with self._signals():
            await self._until_end(self._serve())
            await self.stop()
        if self.guard.fault is not None:
            raise self.guard.fault

    async def start(self) -> None:
        """Start every component; raises what the first to fail raises."""
        for component in self._components:
            self._begun.append(component)
            await component.start()
        self._health.set("lifecycle", True)
        _log.info("ready", components=", ".join(c.name for c in self._begun))

    async def stop(self) -> None:
        """Withdraw readiness, stop what was begun in reverse, end the guard's tasks."""
        deadline = Deadline(self._settings.drain_seconds)
        self._health.set("lifecycle", False, "draining")
        if self._begun and self._settings.drain_notice_seconds and self.guard.fault is None:
            await asyncio.sleep(min(self._settings.drain_notice_seconds, deadline.remaining()))
        while self._begun:
            await self._stop_one(self._begun.pop(), deadline)
        for name in await self.guard.cancel_all(max(deadline.remaining(), FORCED_STOP_SECONDS)):
            _log.warning("task did not end", task=name)

    async def __aenter__(self) -> "Lifecycle":
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def _serve(self) -> None:
        await self.start()
        # What was loaded stays: without this a full collection walks over it, for 20 ms and more.
        gc.freeze()
        await asyncio.Event().wait()

    async def _until_end(self, serving: Coroutine[None, None, None]) -> None:
        """Until a signal, a fault of the guard, or a component that cannot start."""
        tasks = [
            asyncio.create_task(serving, name="serve"),
            asyncio.create_task(self.guard.wait_fault(), name="wait-fault"),
            asyncio.create_task(self._ended.wait(), name="wait-signal"),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        error = results[0]
        if isinstance(error, Exception):
            self.guard.fail(*_as_fault(self._begun, error))

    async def _stop_one(self, component: Component, deadline: Deadline) -> None:
        seconds = max(deadline.remaining(), FORCED_STOP_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await component.stop(deadline)
        except TimeoutError:
            _log.warning("drain cut short", component=component.name, seconds=round(seconds, 2))
        except Exception as error:
            # The others must still be stopped; the process exits non-zero for this one.
            self.guard.fail(component.name, f"could not stop: {type(error).__name__}", error)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        for number in handled:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._ended.is_set():
            _log.warning("second signal, ending at once", signal=number.name)
            _exit_now(128 + number)
        _log.info("draining", signal=number.name, seconds=self._settings.drain_seconds)
        self._ended.set()


def _as_fault(begun: list[Component], error: Exception) -> tuple[str, str, BaseException | None]:
    if isinstance(error, ServiceFault):
        return error.name, error.message, error.__cause__
    name = begun[-1].name if begun else "start"
    return name, f"could not start: {type(error).__name__}", error


def _exit_now(status: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(status)


def run_process(main: Callable[[], Awaitable[None]]) -> int:
    """Run `main` on uvloop and return the exit status: 0 after a drain, 1 after a fault, 2 for
    settings that cannot be used (their names on standard error).
    """

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(log_loop_error)
        await main()

    try:
        uvloop.run(guarded())
    except ServiceFault:
        return 1  # the guard has logged it
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
