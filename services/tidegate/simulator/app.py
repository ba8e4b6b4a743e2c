"""The composition root of the simulator."""

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from tidegate.chassis.health import Health, health_app
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.metrics import make_registry
from tidegate.chassis.settings import load_settings
from tidegate.simulator.admission import Admission
from tidegate.simulator.calls import CallLog
from tidegate.simulator.chat_api import ChatApi
from tidegate.simulator.control_api import ControlApi
from tidegate.simulator.embeddings_api import EmbeddingsApi
from tidegate.simulator.envelope import add_request_id, openai_errors
from tidegate.simulator.faults import FaultBook
from tidegate.simulator.metrics import SimulatorMetrics
from tidegate.simulator.models import Catalogue, ModelsApi
from tidegate.simulator.settings import SimulatorSettings
from tidegate.simulator.ticker import Ticker

_LARGEST_BODY: Final = 32 * 1024 * 1024


def run() -> int:
    """Serve in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(SimulatorSettings)))


async def main(settings: SimulatorSettings) -> None:
    """Serve until a signal, then drain. Raises ServiceFault."""
    configure_logs(settings, service="simulator")
    await make_simulator(settings).lifecycle.run()


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator's process, and its one server, whose address is known once it has started."""

    lifecycle: Lifecycle
    http: HttpServer


def make_simulator(settings: SimulatorSettings) -> Simulator:
    """The whole simulator, to be called on the event loop that will run it."""
    health, registry = Health(), make_registry("simulator")
    lifecycle = Lifecycle(settings, health)
    http = make_server(settings, health, registry)
    lifecycle.add(http)
    return Simulator(lifecycle, http)


def make_server(
    settings: SimulatorSettings, health: Health, registry: CollectorRegistry
) -> HttpServer:
    """The simulator's server, on whose one port everything is, health pages included."""
    log, faults = CallLog(settings.simulator_call_records, time.time), FaultBook()
    registry.register(SimulatorMetrics(log))
    app = web.Application(middlewares=[openai_errors], client_max_size=_LARGEST_BODY)
    app.on_response_prepare.append(add_request_id)
    _route_api(app, settings, log, faults)
    _route_control(app, ControlApi(log, faults))
    _route_health(app, health, registry)
    return HttpServer("simulator", app, settings.simulator_listen)


def _route_api(
    app: web.Application, settings: SimulatorSettings, log: CallLog, faults: FaultBook
) -> None:
    dice = Random(settings.simulator_seed)
    key = settings.simulator_api_key
    admission = Admission(
        key=key.get_secret_value() if key else None,
        behaviour=settings.behaviour,
        faults=faults,
        log=log,
        dice=dice,
        clock=time.time,
    )
    catalogue = Catalogue(settings.chat_models, settings.embedding_models, int(time.time()))
    chat = ChatApi(
        seed=settings.simulator_seed,
        catalogue=catalogue,
        admission=admission,
        log=log,
        ticker=_make_ticker(app),
        dice=dice,
        clock=time.monotonic,
    )
    embeddings = EmbeddingsApi(
        dimensions=settings.simulator_embedding_dimensions,
        catalogue=catalogue,
        admission=admission,
    )
    models = ModelsApi(catalogue, admission)
    app.router.add_post("/v1/chat/completions", chat.complete)
    app.router.add_post("/v1/embeddings", embeddings.embed)
    app.router.add_get("/v1/models", models.list_all)
    app.router.add_get("/v1/models/{model}", models.get_one)


def _make_ticker(app: web.Application) -> Ticker:
    ticker = Ticker(asyncio.get_running_loop(), time.monotonic)

    async def close(_: web.Application) -> None:
        ticker.close()

    app.on_cleanup.append(close)
    return ticker


def _route_control(app: web.Application, control: ControlApi) -> None:
    app.router.add_get("/stats", control.stats)
    app.router.add_delete("/stats", control.reset_stats)
    app.router.add_get("/faults", control.list_faults)
    app.router.add_post("/faults", control.add_fault)
    app.router.add_delete("/faults", control.clear_faults)


def _route_health(app: web.Application, health: Health, registry: CollectorRegistry) -> None:
    # The same pages that other services serve on a port of their own.
    for route in health_app(health, registry).router.routes():
        if route.resource is not None:
            app.router.add_route(route.method, route.resource.canonical, route.handler)
