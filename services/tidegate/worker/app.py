"""The composition root of the worker."""

import socket
import time
from dataclasses import dataclass

import structlog

from tidegate.chassis.component import Component
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.eventlog.following import Following
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.presence import Presence
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.writer import LogLimits
from tidegate.figures.metrics import Figures
from tidegate.figures.telling import FiguresTold
from tidegate.providers.breaker import BreakerPolicy
from tidegate.providers.breakers import Breakers
from tidegate.providers.calling import Caller
from tidegate.providers.clients import Clients
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes
from tidegate.providers.routes_file import RoutesFile
from tidegate.worker.attempt import Attempts
from tidegate.worker.cache_client import CacheClient
from tidegate.worker.calls import CallParts
from tidegate.worker.course import CourseParts
from tidegate.worker.delivery import Deliveries
from tidegate.worker.flights import DEFAULT_POLICY, FlightPolicy, Flights
from tidegate.worker.follower import FollowParts
from tidegate.worker.held import HeldJobs
from tidegate.worker.intake import Intake
from tidegate.worker.job import JobHandler
from tidegate.worker.load import LoadTold
from tidegate.worker.metrics import WorkerCacheMetrics, WorkerMetrics
from tidegate.worker.settings import WorkerSettings
from tidegate.worker.sources import CacheParts, SourceParts
from tidegate.worker.standstill import Standstill
from tidegate.worker.storing import AnswerKeeping
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
    figures: Figures
    provider_metrics: ProviderMetrics
    log_metrics: EventLogMetrics
    deliveries: Deliveries
    name: str


def make_worker(
    settings: WorkerSettings,
    breaking: BreakerPolicy | None = None,
    flying: FlightPolicy = DEFAULT_POLICY,
) -> Lifecycle:
    """The whole worker, to be called on the event loop that will run it.

    `breaking` says when circuit breakers open; None: as in every process of the fleet. `flying`
    is for how long others are waited for that ask the same.

    Raises:
        SettingsError: routes, queues, the cache's key, provider keys or tracing cannot be as the
            settings say.
    """
    base = make_base("worker", nats=settings, tracing=settings, pages=settings, drain=settings)
    # Whatever can be wrong with the settings is said before anything begins.
    routes = RoutesFile(
        settings.routes_file, base.guard, base.registry, check=settings.require_keys
    )
    queues = settings.queue_names(routes.current)
    parts = _make_parts(settings, base, routes, breaking or BreakerPolicy())
    caching = _make_cache(parts, flying)
    cache, cache_components = caching if caching is not None else (None, ())
    standstill = Standstill(base.nats, base.guard)
    held = HeldJobs(
        _make_handler(parts, cache).handle,
        nats=base.nats,
        jetstream=base.jetstream,
        deliveries=parts.deliveries,
        standstill=standstill,
        guard=base.guard,
        metrics=parts.metrics,
    )
    rests = BatchRests(parts.waits, parts.breakers, lambda: routes.current, time.time)
    intake = _make_intake(parts, held, standstill, queues, rests)
    _follow_routes(parts, intake)
    return base.compose(
        routes,
        FiguresTold(parts.figures, base.nats, host=parts.name, clock=time.time),
        parts.breakers,
        parts.clients,
        *cache_components,
        standstill,
        _make_load(parts, held, intake, rests),
        held,
        intake,
    )


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
        figures=Figures(base.registry),
        provider_metrics=provider_metrics,
        log_metrics=EventLogMetrics(base.registry),
        deliveries=Deliveries(base.nats, base.jetstream),
        name=name,
    )


def _make_cache(
    parts: _Parts, flying: FlightPolicy
) -> tuple[CacheParts, tuple[Component, ...]] | None:
    """What asks the cache, and its components in the order in which they begin; None: no cache."""
    base, settings = parts.base, parts.settings
    if settings.cache_target is None:
        return None
    metrics = WorkerCacheMetrics(base.registry)
    reader = LogReader(base.nats.client, base.jetstream, metrics=parts.log_metrics)
    flights = Flights(base.jetstream, base.guard, metrics, policy=flying)
    client = CacheClient(
        settings.cache_target,
        settings.fleet_key(),
        lookup_seconds=settings.cache_lookup_seconds,
        store_seconds=settings.cache_store_seconds,
        guard=base.guard,
        tracing=base.tracing,
        metrics=metrics,
    )
    storing = AnswerKeeping(client, base.guard, metrics)
    following = FollowParts(reader, base.jetstream, flights, metrics, clock=time.time)
    return CacheParts(client, storing, following), (
        Following(reader, base.nats, base.guard),
        # A job that others follow has readers, whether or not a client reads it.
        Presence(reader, base.nats, base.guard),
        client,
        flights,
        storing,
    )


def _make_handler(parts: _Parts, cache: CacheParts | None) -> JobHandler:
    base, settings, routes = parts.base, parts.settings, parts.routes
    calls = CallParts(
        clients=parts.clients,
        waits=parts.waits,
        tracing=base.tracing,
        metrics=parts.metrics,
        clock=time.time,
    )
    caller = Caller(parts.breakers, parts.provider_metrics)
    course = CourseParts(
        parts.name, parts.metrics, parts.figures, clock=time.time, monotonic=time.monotonic
    )
    return JobHandler(
        base.jetstream,
        parts.deliveries,
        Attempts(PriceBook(), course, SourceParts(caller, lambda: routes.current, calls, cache)),
        base.tracing,
        max_attempts=settings.max_attempts,
        limits=lambda: LogLimits.for_server(base.nats.max_payload, settings.result_ttl_seconds),
        metrics=parts.metrics,
        log_metrics=parts.log_metrics,
        clock=time.time,
    )


def _make_intake(
    parts: _Parts,
    held: HeldJobs,
    standstill: Standstill,
    queues: tuple[str, ...],
    rests: BatchRests,
) -> Intake:
    base = parts.base
    intake = Intake(
        queues,
        parts.settings.slots_of(queues),
        rests=rests,
        nats=base.nats,
        jetstream=base.jetstream,
        held=held,
        standstill=standstill,
        health=base.health,
        guard=base.guard,
        metrics=parts.metrics,
    )
    parts.breakers.on_change(intake.wake)
    return intake


def _make_load(parts: _Parts, held: HeldJobs, intake: Intake, rests: BatchRests) -> LoadTold:
    return LoadTold(
        parts.base.nats,
        parts.base.guard,
        held,
        parts.waits,
        queues=lambda: intake.queues,
        blocked=rests.blocked,
        # Not the name that attempts have, which may be chosen: whoever scales pods knows theirs.
        host=socket.gethostname(),
    )


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
