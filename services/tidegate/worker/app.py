"""The composition root of the worker."""

import socket
import time
from dataclasses import dataclass

import structlog

from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.writer import LogLimits
from tidegate.providers.breaker import BreakerPolicy
from tidegate.providers.breakers import Breakers
from tidegate.providers.calling import Caller
from tidegate.providers.clients import Clients
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes
from tidegate.providers.routes_file import RoutesFile
from tidegate.worker.attempt import Attempts
from tidegate.worker.calls import CallParts
from tidegate.worker.delivery import Deliveries
from tidegate.worker.held import HeldJobs
from tidegate.worker.intake import Intake
from tidegate.worker.job import JobHandler
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.settings import WorkerSettings
from tidegate.worker.waits import BatchRests, BatchWaits

_log = structlog.stdlib.get_logger(module=__name__)


def run() -> int:
    """Work in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(WorkerSettings)))


async def main(settings: WorkerSettings) -> None:
    """Work until a signal, then drain. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="worker")
    await make_worker(settings).run()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the parts of a worker share."""

    settings: WorkerSettings
    base: Base
    routes: RoutesFile
    breakers: Breakers
    clients: Clients
    waits: BatchWaits
    metrics: WorkerMetrics
    provider_metrics: ProviderMetrics
    deliveries: Deliveries
    name: str


def make_worker(settings: WorkerSettings, breaking: BreakerPolicy | None = None) -> Lifecycle:
    """The whole worker, to be called on the event loop that will run it.

    `breaking` says when circuit breakers open; None: as in every process of the fleet.

    Raises:
        SettingsError: routes, queues, provider keys or tracing cannot be as the settings say.
    """
    base = make_base("worker", nats=settings, tracing=settings, pages=settings, drain=settings)
    # Whatever can be wrong with the settings is said before anything begins.
    routes = RoutesFile(
        settings.routes_file, base.guard, base.registry, check=settings.require_keys
    )
    queues = settings.queue_names(routes.current)
    parts = _make_parts(settings, base, routes, breaking or BreakerPolicy())
    held = HeldJobs(
        _make_handler(parts).handle,
        nats=base.nats,
        jetstream=base.jetstream,
        deliveries=parts.deliveries,
        guard=base.guard,
        metrics=parts.metrics,
    )
    intake = _make_intake(parts, held, queues)
    _follow_routes(parts, intake)
    return base.compose(routes, parts.breakers, parts.clients, held, intake)


def _make_parts(
    settings: WorkerSettings, base: Base, routes: RoutesFile, policy: BreakerPolicy
) -> _Parts:
    metrics, provider_metrics = WorkerMetrics(base.registry), ProviderMetrics(base.registry)
    name = settings.worker_name or socket.gethostname()
    return _Parts(
        settings=settings,
        base=base,
        routes=routes,
        breakers=Breakers(
            base.nats,
            base.jetstream,
            base.guard,
            provider_metrics,
            owner=name,
            policy=policy,
        ),
        clients=Clients(base.guard, concurrency=settings.worker_concurrency),
        waits=BatchWaits(settings.slots_of(settings.queue_names(routes.current)), metrics.waiting),
        metrics=metrics,
        provider_metrics=provider_metrics,
        deliveries=Deliveries(base.nats, base.jetstream),
        name=name,
    )


def _make_handler(parts: _Parts) -> JobHandler:
    base, settings, routes = parts.base, parts.settings, parts.routes
    call_parts = CallParts(
        clients=parts.clients,
        waits=parts.waits,
        tracing=base.tracing,
        metrics=parts.metrics,
        worker=parts.name,
        clock=time.time,
        monotonic=time.monotonic,
    )
    caller = Caller(parts.breakers, parts.provider_metrics)
    return JobHandler(
        base.jetstream,
        parts.deliveries,
        Attempts(caller, lambda: routes.current, PriceBook(), call_parts),
        base.tracing,
        max_attempts=settings.max_attempts,
        limits=lambda: LogLimits.for_server(base.nats.max_payload, settings.result_ttl_seconds),
        metrics=parts.metrics,
        log_metrics=EventLogMetrics(base.registry),
        clock=time.time,
    )


def _make_intake(parts: _Parts, held: HeldJobs, queues: tuple[str, ...]) -> Intake:
    base, routes = parts.base, parts.routes
    intake = Intake(
        queues,
        parts.settings.slots_of(queues),
        rests=BatchRests(parts.waits, parts.breakers, lambda: routes.current, time.time),
        nats=base.nats,
        jetstream=base.jetstream,
        held=held,
        health=base.health,
        guard=base.guard,
        metrics=parts.metrics,
    )
    parts.breakers.on_change(intake.wake)
    return intake


def _follow_routes(parts: _Parts, intake: Intake) -> None:
    """New routes count for the next call; new queues are served where none are named."""

    def changed(routes: Routes) -> None:
        parts.clients.keep(routes.targets)
        try:
            names = parts.settings.queue_names(routes)
            queues = tuple(dict.fromkeys((*intake.queues, *names)))
            slots = parts.settings.slots_of(queues)
        except SettingsError as error:
            _log.error("new queues are not served", why=str(error))
            return
        parts.waits.slots = slots
        intake.serve(queues, slots)

    parts.routes.on_change(changed)
