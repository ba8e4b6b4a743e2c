"""The composition root of the worker."""

import socket
import time

from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import load_settings
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.writer import LogLimits
from tidegate.providers.routes import Routes, load_routes
from tidegate.worker.attempt import Attempts
from tidegate.worker.clients import Clients
from tidegate.worker.delivery import Deliveries
from tidegate.worker.held import HeldJobs
from tidegate.worker.intake import Intake
from tidegate.worker.job import JobHandler
from tidegate.worker.metrics import WorkerMetrics
from tidegate.worker.settings import WorkerSettings


def run() -> int:
    """Work in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(WorkerSettings)))


async def main(settings: WorkerSettings) -> None:
    """Work until a signal, then drain. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="worker")
    await make_worker(settings).run()


def make_worker(settings: WorkerSettings, routes: Routes | None = None) -> Lifecycle:
    """The whole worker, to be called on the event loop that will run it.

    `routes`: None reads the file that the settings name.

    Raises:
        SettingsError: routes, queues, provider keys or tracing cannot be as the settings say.
    """
    # Whatever can be wrong with the settings is said before anything begins.
    routes = load_routes(settings.routes_file) if routes is None else routes
    queues = settings.queue_names(routes)
    for route in routes.values():
        if route.queue in queues:
            route.read_api_key()
    base = make_base("worker", nats=settings, tracing=settings, pages=settings, drain=settings)
    metrics = WorkerMetrics(base.registry)
    deliveries = Deliveries(base.nats, base.jetstream)
    clients = Clients(routes, concurrency=settings.worker_concurrency)
    held = HeldJobs(
        _make_handler(settings, base, deliveries, clients, metrics).handle,
        nats=base.nats,
        jetstream=base.jetstream,
        deliveries=deliveries,
        guard=base.guard,
        metrics=metrics,
    )
    intake = Intake(
        queues,
        settings.worker_concurrency // len(queues),
        nats=base.nats,
        jetstream=base.jetstream,
        held=held,
        health=base.health,
        guard=base.guard,
        metrics=metrics,
    )
    return base.compose(clients, held, intake)


def _make_handler(
    settings: WorkerSettings,
    base: Base,
    deliveries: Deliveries,
    clients: Clients,
    metrics: WorkerMetrics,
) -> JobHandler:
    attempts = Attempts(
        clients,
        base.tracing,
        metrics,
        worker=settings.worker_name or socket.gethostname(),
        clock=time.time,
        monotonic=time.monotonic,
    )
    return JobHandler(
        base.jetstream,
        deliveries,
        attempts,
        base.tracing,
        max_attempts=settings.max_attempts,
        limits=lambda: LogLimits.for_server(base.nats.max_payload, settings.result_ttl_seconds),
        metrics=metrics,
        log_metrics=EventLogMetrics(base.registry),
        clock=time.time,
    )
