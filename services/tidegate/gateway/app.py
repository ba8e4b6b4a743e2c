"""The composition root of the gateway."""

import time
from dataclasses import dataclass

import tidegate
from tidegate.chassis.component import Deadline
from tidegate.chassis.grpc_server import GrpcServer
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.keyring import Keyring, make_keyring
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import listen_addresses, load_settings
from tidegate.chassis.tasks import TaskGuard
from tidegate.eventlog.following import Following
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.writer import LogLimits
from tidegate.gateway.creation import CreateLimits, Creator, request_bound
from tidegate.gateway.followers import Followers
from tidegate.gateway.grpc_service import SERVICE, JobService
from tidegate.gateway.http_app import JobsApi, make_http_app
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.limits import Admission
from tidegate.gateway.listing import Lister
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.reaper import Reaper, ReaperOptions
from tidegate.gateway.settings import GatewaySettings
from tidegate.gateway.setup import StreamsStep, stream_options
from tidegate.providers.routes import Routes, load_routes


def run() -> int:
    """Serve in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(GatewaySettings)))


async def main(settings: GatewaySettings) -> None:
    """Serve until a signal, then drain. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="gateway")
    await make_gateway(settings).lifecycle.run()


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway's process, and its servers, whose addresses are known once it has started."""

    lifecycle: Lifecycle
    http: HttpServer
    grpc: GrpcServer
    health: HttpServer


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the gateway's own parts are made from."""

    settings: GatewaySettings
    base: Base
    routes: Routes
    keyring: Keyring
    metrics: GatewayMetrics
    log_metrics: EventLogMetrics

    def log_limits(self) -> LogLimits:
        return LogLimits.for_server(self.base.nats.max_payload, self.settings.result_ttl_seconds)


def make_gateway(settings: GatewaySettings) -> Gateway:
    """The whole gateway, to be called on the event loop that will run it.

    Raises:
        SettingsError: routes, keys or tracing cannot be as the settings say.
    """
    parts = _make_parts(settings)
    base = parts.base
    reader = LogReader(base.nats.client, base.jetstream, metrics=parts.log_metrics)
    reaper = _make_reaper(parts)
    jobs = _make_jobs(parts, reader, reaper)
    http, grpc = _make_http(parts, jobs), _make_grpc(parts, jobs)
    lifecycle = base.compose(
        StreamsStep(base.jetstream, stream_options(settings), parts.routes.queues, base.health),
        Following(reader, base.nats, base.guard),
        reaper,
        http,
        grpc,
        # Last, so that it drains first: open streams would keep the gRPC server to its deadline.
        _EndStreams(jobs),
        before_nats=[parts.keyring],
    )
    return Gateway(lifecycle, http, grpc, base.pages)


def _make_parts(settings: GatewaySettings) -> _Parts:
    # Whatever can be wrong with the settings is said before anything begins.
    guard = TaskGuard()
    keyring = make_keyring(settings, guard, listen_addresses(settings))
    routes = load_routes(settings.routes_file)
    base = make_base(
        "gateway", nats=settings, tracing=settings, pages=settings, drain=settings, guard=guard
    )
    return _Parts(
        settings=settings,
        base=base,
        routes=routes,
        keyring=keyring,
        metrics=GatewayMetrics(base.registry),
        log_metrics=EventLogMetrics(base.registry),
    )


def _make_jobs(parts: _Parts, reader: LogReader, reaper: Reaper) -> Jobs:
    settings, base = parts.settings, parts.base
    admission = Admission(
        base.jetstream,
        max_waiting=settings.max_waiting_jobs,
        max_in_flight=settings.max_jobs_in_flight,
        metrics=parts.metrics,
        clock=time.monotonic,
    )
    creator = Creator(
        base.jetstream,
        parts.routes,
        admission,
        limits=CreateLimits(
            default_ttl=settings.default_ttl_seconds,
            max_ttl=settings.max_ttl_seconds,
            settle=settings.settle_seconds,
        ),
        max_payload=lambda: base.nats.max_payload,
        on_accepted=reaper.accepted,
        metrics=parts.metrics,
        clock=time.time,
    )
    return Jobs(
        base.nats,
        base.jetstream,
        creator,
        Lister(base.jetstream, parts.metrics),
        reader,
        followers=Followers(
            max_per_tenant=settings.max_streams_per_tenant, max_in_all=settings.max_streams
        ),
        limits=parts.log_limits,
        log_metrics=parts.log_metrics,
        clock=time.time,
    )


def _make_reaper(parts: _Parts) -> Reaper:
    settings, base = parts.settings, parts.base
    return Reaper(
        base.nats,
        base.jetstream,
        base.guard,
        options=ReaperOptions(
            expire_grace=settings.reap_grace_seconds,
            cancel_grace=settings.cancel_grace_seconds,
            scan_age=settings.reap_scan_age_seconds,
        ),
        limits=parts.log_limits,
        metrics=parts.metrics,
        log_metrics=parts.log_metrics,
        clock=time.time,
    )


def _make_http(parts: _Parts, jobs: Jobs) -> HttpServer:
    settings, base = parts.settings, parts.base
    api = JobsApi(
        jobs,
        parts.keyring,
        body_bound=lambda: request_bound(base.nats.max_payload),
        body_seconds=settings.body_seconds,
        sse_url=settings.public_sse_url,
    )
    discovery = {
        "grpc": settings.public_grpc,
        "websocket": settings.public_websocket_url,
        "sse": settings.public_sse_url,
        "models": list(parts.routes),
        "version": tidegate.__version__,
    }
    app = make_http_app(api, discovery, base.chassis_metrics, base.tracing)
    return HttpServer("http", app, settings.http_listen)


def _make_grpc(parts: _Parts, jobs: Jobs) -> GrpcServer:
    settings, base = parts.settings, parts.base
    service = JobService(
        jobs, parts.keyring, parts.metrics, slow_reader=settings.slow_reader_seconds
    )
    return GrpcServer(
        "grpc",
        settings.grpc_listen,
        {SERVICE: service.register},
        settings=settings,
        health=base.health,
        metrics=base.chassis_metrics,
        tracing=base.tracing,
    )


class _EndStreams:
    name = "streams-out"

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def start(self) -> None:
        """Nothing."""

    async def stop(self, deadline: Deadline) -> None:
        del deadline
        self._jobs.drain()
