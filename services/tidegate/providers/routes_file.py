"""The routes as their file is now: read anew when it changes, a bad new one refused."""

from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.watched_file import WatchedFile
from tidegate.providers.metrics import RoutesMetrics
from tidegate.providers.routes import Routes, RoutesError
from tidegate.providers.routes_parse import parse_routes

_log = structlog.stdlib.get_logger(module=__name__)


class RoutesFile:
    """A component that keeps the routes of a file, within a second of its changes.

    `check` may refuse routes that this process cannot work with, by a RoutesError; it is asked
    again at each look, because what it found missing may come. A refused file is logged once for
    each reason, and the routes before it stay.

    Raises:
        RoutesError: there are no routes to begin with.
    """

    name = "routes"

    def __init__(
        self,
        path: Path,
        guard: TaskGuard,
        registry: CollectorRegistry,
        *,
        check: Callable[[Routes], None] = lambda _: None,
    ) -> None:
        self._check = check
        self._listeners: list[Callable[[Routes], None]] = []
        self._routes = Routes({})
        self._file = WatchedFile(
            self.name,
            path,
            guard,
            parse=lambda content: parse_routes(content, path),
            take=self._take,
            refusal=RoutesError,
            on_stale=RoutesMetrics(registry).stale.set,
        )
        try:
            self._file.refresh()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise RoutesError(path, "", f"cannot be read: {why}") from error

    @property
    def current(self) -> Routes:
        """The routes that are in force; another object after a change, never a changed one."""
        return self._routes

    def on_change(self, listener: Callable[[Routes], None]) -> None:
        """Calls `listener` on the event loop with the new routes after each change."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Watch the file. Raises ServiceFault if it can no longer be used."""
        await self._file.start()

    async def stop(self, deadline: Deadline) -> None:
        """Look at the file no more."""
        await self._file.stop(deadline)

    def _take(self, routes: Routes) -> None:
        try:
            self._check(routes)
        except RoutesError:
            self._file.forget()
            raise
        before, self._routes = self._routes, routes
        if before and list(before.items()) != list(routes.items()):
            _log.info("routes taken over", models=len(routes), targets=len(routes.targets))
            for listener in self._listeners:
                listener(routes)
