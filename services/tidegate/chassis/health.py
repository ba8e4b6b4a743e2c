"""Liveness, readiness with named conditions, and the metrics page."""

from collections.abc import Callable, Mapping

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.settings import HealthSettings

_log = structlog.stdlib.get_logger(module=__name__)

Listener = Callable[[bool], object]
# Why the process is to be started again; empty while it is well.
StuckCheck = Callable[[], str]


class Health:
    """Named conditions; the process is ready while all of them hold.

    A condition exists from its first `set`. Each change is logged once. Listeners hear each change
    of the whole, synchronously.
    """

    def __init__(self, metrics: ChassisMetrics | None = None) -> None:
        self._conditions: dict[str, str | None] = {}
        self._listeners: list[Listener] = []
        self._was_ready = False
        self._checks: list[StuckCheck] = []
        if metrics is not None:
            self.subscribe(metrics.ready.set)

    @property
    def ready(self) -> bool:
        """Whether there are conditions and all hold."""
        return bool(self._conditions) and not any(self._conditions.values())

    @property
    def failing(self) -> Mapping[str, str]:
        """The conditions that do not hold, with the reason of each."""
        return {name: why for name, why in self._conditions.items() if why}

    @property
    def stuck(self) -> str:
        """Why the process does not do its work, as far as somebody watches that; else empty."""
        return "; ".join(why for check in self._checks if (why := check()))

    def watch(self, check: StuckCheck) -> None:
        """Ask `check` at every liveness probe too: a loop that turns may turn for nothing."""
        self._checks.append(check)

    def set(self, name: str, holds: bool, reason: str = "") -> None:
        """Say whether `name` holds, and why not. The reason is shown to anyone who can probe."""
        why = None if holds else reason or "not ready"
        if name in self._conditions and self._conditions[name] == why:
            return
        self._conditions[name] = why
        _log.info("condition", condition=name, holds=holds, reason=reason or None)
        self._tell()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener(ready)` now and at every change."""
        self._listeners.append(listener)
        listener(self.ready)

    def _tell(self) -> None:
        if self.ready == self._was_ready:
            return
        self._was_ready = self.ready
        for listener in self._listeners:
            listener(self._was_ready)


def health_app(health: Health, registry: CollectorRegistry) -> web.Application:
    """`/livez` (200, or 503 while something is stuck), `/readyz` (likewise, JSON), `/metrics`."""

    async def livez(_: web.Request) -> web.Response:
        stuck = health.stuck
        return web.Response(text=f"{stuck or 'ok'}\n", status=503 if stuck else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = health.ready
        body = msgspec.json.encode({"ready": ready, "failing": health.failing})
        return web.Response(
            body=body, content_type="application/json", status=200 if ready else 503
        )

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def serve_health(
    settings: HealthSettings, health: Health, registry: CollectorRegistry
) -> HttpServer:
    """The health pages as a component; add it first, so that it answers while others still wait."""
    return HttpServer("health", health_app(health, registry), settings.health_listen)
