"""Named tasks with a guard and an end: nothing that should run for ever ends unseen."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

_log = structlog.stdlib.get_logger(module=__name__)

T = TypeVar("T")


class ServiceFault(Exception):
    """Something without which the process must not go on. `name` says what, the text says why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class TaskGuard:
    """Owns a process's background tasks; its first fault ends the process.

    `spawn_eternal` is for loops: their end, however it comes about, is a fault. `spawn` is for work
    that ends: only an exception is a fault. `fail` is for callbacks that found out by themselves.
    The lifecycle waits for `wait_fault` and ends the tasks with `cancel_all`.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fault: ServiceFault | None = None
        self._faulted = asyncio.Event()
        self._closing = False

    @property
    def fault(self) -> ServiceFault | None:
        """The first fault, or None while all is well."""
        return self._fault

    def spawn_eternal(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Start `work`, which must run until it is cancelled by its owner or by `cancel_all`."""
        return self._start(name, work, self._on_eternal_done)

    def spawn(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start `work`, which may return but must not raise."""
        return self._start(name, work, self._on_done)

    def fail(self, name: str, message: str, cause: BaseException | None = None) -> None:
        """Report a fault; the first is kept, and logged once with its cause."""
        if self._fault is not None:
            return
        self._fault = ServiceFault(name, message)
        self._fault.__cause__ = cause
        _log.error("fault", component=name, reason=message, exc_info=cause)
        self._faulted.set()

    async def wait_fault(self) -> ServiceFault:
        """Wait until something failed, and return that."""
        await self._faulted.wait()
        assert self._fault is not None  # noqa: S101
        return self._fault

    async def cancel_all(self, timeout: float = 1.0) -> list[str]:  # noqa: ASYNC109
        """Cancel every task, wait at most `timeout` seconds, and name those that did not end."""
        self._closing = True
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        return await cancel_and_wait(tasks, timeout)

    def _start(
        self,
        name: str,
        work: Coroutine[Any, Any, T],
        on_done: Callable[[asyncio.Task[Any]], None],
    ) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(on_done)
        return task

    def _on_eternal_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None and not self._closing:
            self.fail(task.get_name(), "a task that runs for ever has ended")
        self._on_done(task)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.fail(task.get_name(), f"ended by {type(error).__name__}", error)


async def cancel_and_wait(tasks: set[asyncio.Task[Any]], timeout: float) -> list[str]:  # noqa: ASYNC109
    """Cancel `tasks`, wait at most `timeout` seconds, and name those still running after that."""
    for task in tasks:
        task.cancel()
    if not tasks:
        return []
    _, pending = await asyncio.wait(tasks, timeout=timeout)
    return sorted(task.get_name() for task in pending)
