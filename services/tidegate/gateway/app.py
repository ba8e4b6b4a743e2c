"""The composition root of the gateway."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

import tidegate
from tidegate.chassis.component import Deadline
from tidegate.chassis.grpc_server import GrpcServer
from tidegate.chassis.http_cors import Origins
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.keyring import Keyring, make_keyring
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import listen_addresses, load_settings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.census import Census
from tidegate.eventlog.following import Following
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.eventlog.presence import Presence
from tidegate.eventlog.reader import LogReader
from tidegate.eventlog.writer import LogLimits
from tidegate.figures.metrics import QueueFigures
from tidegate.gateway.cache_api import CacheApi
from tidegate.gateway.cache_client import CacheClient
from tidegate.gateway.creation import CreateLimits, Creator, request_bound
from tidegate.gateway.dead_letters import DeadLetters
from tidegate.gateway.dead_letters_api import DeadLettersApi
from tidegate.gateway.entrance import Entrance
from tidegate.gateway.fleet import FleetFigures
from tidegate.gateway.followers import Followers
from tidegate.gateway.grpc_service import SERVICE, JobService
from tidegate.gateway.http_app import JobsApi, make_http_app
from tidegate.gateway.http_bodies import encode_job
from tidegate.gateway.jobs import Jobs, forget_nothing
from tidegate.gateway.limits import Admission
from tidegate.gateway.lingers import Lingers
from tidegate.gateway.listing import Lister
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.openai.admission import Places
from tidegate.gateway.openai.chat_api import ChatApi, StreamLimits
from tidegate.gateway.openai.embeddings_api import EmbeddingsApi, Upstream
from tidegate.gateway.openai.metrics import EmbeddingsMetrics
from tidegate.gateway.openai.models_api import ModelsApi
from tidegate.gateway.openai.recent import Recent
from tidegate.gateway.queues import QueueWatch
from tidegate.gateway.reaper import Reaper, ReaperOptions
from tidegate.gateway.revived import RevivedLogs
from tidegate.gateway.settings import GatewaySettings
from tidegate.gateway.setup import StreamsStep, stream_options
from tidegate.gateway.stats_api import StatsApi
from tidegate.gateway.tokens_api import TokensApi
from tidegate.gateway.wakes import Wakes
from tidegate.providers.breakers import Breakers
from tidegate.providers.calling import Caller
from tidegate.providers.clients import Clients
from tidegate.providers.ledger import billing
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes
from tidegate.providers.routes_file import RoutesFile

# Of the time to drain, for answers that are on their way to clients that cannot resume.
_SHARE_OF_DRAIN: Final = 0.5


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
    routes_file: RoutesFile
    keyring: Keyring
    prices: PriceBook
    cache: CacheClient | None
    metrics: GatewayMetrics
    log_metrics: EventLogMetrics

    def routes(self) -> Routes:
        """Those in force now."""
        return self.routes_file.current

    def log_limits(self) -> LogLimits:
        return LogLimits.for_server(self.base.nats.max_payload, self.settings.result_ttl_seconds)


def make_gateway(settings: GatewaySettings) -> Gateway:
    """The whole gateway, to be called on the event loop that will run it.

    Raises:
        SettingsError: routes, keys, the cache's key or tracing cannot be as the settings say.
    """
    parts = _make_parts(settings)
    base = parts.base
    reader = LogReader(base.nats.client, base.jetstream, metrics=parts.log_metrics)
    reaper = _make_reaper(parts)
    creator = _make_creator(parts, reaper)
    jobs = _make_jobs(parts, reader, creator)
    presence = Presence(reader, base.nats, base.guard)
    letters = DeadLetters(base.jetstream, creator, parts.metrics)
    upstream = _make_upstream(parts)
    fleet, watch = FleetFigures(base.nats), _make_watch(parts)
    http = _make_http(parts, jobs, letters, upstream, lambda door: StatsApi(fleet, watch, door))
    grpc = _make_grpc(parts, jobs)
    queues = parts.routes().queues
    streams = StreamsStep(base.jetstream, stream_options(settings), queues, base.health)
    base.nats.on_reconnect(streams.start)
    parts.routes_file.on_change(lambda now: streams.use_queues(now.queues, base.guard))
    lifecycle = base.compose(
        streams,
        Following(reader, base.nats, base.guard),
        presence,
        _make_lingers(parts, presence, jobs),
        reaper,
        RevivedLogs(base.nats, base.jetstream, base.guard, parts.metrics),
        fleet,
        watch,
        upstream.clients,
        upstream.breakers,
        *([] if parts.cache is None else [parts.cache]),
        http,
        grpc,
        # Last, so that it drains first: open streams would keep the gRPC server to its deadline.
        _EndStreams(jobs),
        before_nats=[parts.keyring, parts.routes_file],
    )
    return Gateway(lifecycle, http, grpc, base.pages)


def _make_parts(settings: GatewaySettings) -> _Parts:
    # Whatever can be wrong with the settings is said before anything begins.
    guard = TaskGuard()
    keyring = make_keyring(settings, guard, listen_addresses(settings))
    base = make_base(
        "gateway", nats=settings, tracing=settings, pages=settings, drain=settings, guard=guard
    )
    return _Parts(
        settings=settings,
        base=base,
        routes_file=RoutesFile(settings.routes_file, guard, base.registry, check=_require_keys),
        keyring=keyring,
        prices=PriceBook(),
        cache=_make_cache(settings, base),
        metrics=GatewayMetrics(base.registry),
        log_metrics=EventLogMetrics(base.registry),
    )


def _require_keys(routes: Routes) -> None:
    # Chats are called by the workers, which have the keys; embeddings are called from here.
    routes.require_keys(route.model for route in routes.values() if route.kind == "embeddings")


def _make_cache(settings: GatewaySettings, base: Base) -> CacheClient | None:
    if settings.cache_target is None:
        return None
    return CacheClient(settings.cache_target, settings.fleet_key(), tracing=base.tracing)


def _make_creator(parts: _Parts, reaper: Reaper) -> Creator:
    settings, base = parts.settings, parts.base
    wakes = Wakes(base.nats, base.guard, time.monotonic)

    def accepted(job: QueuedJob, created_ms: int) -> None:
        reaper.accepted(job, created_ms)
        wakes.accepted(job.queue)

    admission = Admission(
        base.jetstream,
        max_waiting=settings.max_waiting_jobs,
        max_in_flight=settings.max_jobs_in_flight,
        clock=time.monotonic,
    )
    return Creator(
        base.jetstream,
        parts.routes,
        admission,
        limits=CreateLimits(
            default_ttl=settings.default_ttl_seconds,
            max_ttl=settings.max_ttl_seconds,
            settle=settings.settle_seconds,
        ),
        max_payload=lambda: base.nats.max_payload,
        on_accepted=accepted,
        metrics=parts.metrics,
        clock=time.time,
    )


def _make_jobs(parts: _Parts, reader: LogReader, creator: Creator) -> Jobs:
    settings, base = parts.settings, parts.base
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
        forget=forget_nothing if parts.cache is None else parts.cache.forget,
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
        bill=billing(parts.prices, parts.routes),
        clock=time.time,
    )


def _make_lingers(parts: _Parts, presence: Presence, jobs: Jobs) -> Lingers:
    base = parts.base
    return Lingers(
        base.nats,
        base.jetstream,
        base.guard,
        presence,
        Census(base.nats, answer_seconds=parts.settings.linger_answer_seconds),
        linger=parts.settings.linger_seconds,
        cancel=jobs.cancel_unread,
        metrics=parts.metrics,
    )


def _make_upstream(parts: _Parts) -> Upstream:
    settings, base = parts.settings, parts.base
    metrics = ProviderMetrics(base.registry)
    owner = f"gateway-{secrets.token_hex(6)}"
    breakers = Breakers(base.nats, base.jetstream, base.guard, metrics, owner=owner)
    clients = Clients(base.guard, concurrency=settings.max_embeddings)
    parts.routes_file.on_change(lambda now: clients.keep(now.targets))
    return Upstream(
        parts.routes, Caller(breakers, metrics), breakers, clients, parts.prices, base.tracing
    )


def _make_watch(parts: _Parts) -> QueueWatch:
    base = parts.base
    figures = QueueFigures(base.registry)
    return QueueWatch(base.jetstream, base.guard, figures, lambda: parts.routes().queues)


def _make_http(
    parts: _Parts,
    jobs: Jobs,
    letters: DeadLetters,
    upstream: Upstream,
    stats: Callable[[Entrance], StatsApi],
) -> HttpServer:
    settings, base = parts.settings, parts.base
    entrance = Entrance(
        parts.keyring,
        body_bound=lambda: request_bound(base.nats.max_payload),
        body_seconds=settings.body_seconds,
    )
    api = JobsApi(jobs, entrance, sse_url=settings.public_sse_url)
    dead_letters = DeadLettersApi(
        letters, entrance, lambda job: encode_job(job, settings.public_sse_url.rstrip("/"))
    )
    tokens = TokensApi(jobs, entrance, parts.keyring, seconds=settings.token_seconds)
    app = make_http_app(
        [
            *api.routes(),
            *_openai_routes(parts, jobs, entrance, upstream),
            *tokens.routes(),
            *dead_letters.routes(),
            *CacheApi(parts.cache, jobs, entrance, parts.routes).routes(),
            *stats(entrance).routes(),
        ],
        lambda: _discovery(parts),
        base.chassis_metrics,
        base.tracing,
        origins=Origins.of(settings, development=settings.development),
    )
    return HttpServer("http", app, settings.http_listen)


def _openai_routes(
    parts: _Parts, jobs: Jobs, entrance: Entrance, upstream: Upstream
) -> list[web.RouteDef]:
    settings, base = parts.settings, parts.base
    chat = ChatApi(
        jobs,
        entrance,
        Recent(base.jetstream, base.guard, parts.metrics),
        base.guard,
        limits=StreamLimits(
            headers=settings.stream_headers_seconds,
            heartbeat=settings.heartbeat_seconds,
            slow_reader=settings.slow_reader_seconds,
        ),
        metrics=parts.metrics,
    )
    embeddings = EmbeddingsApi(
        entrance,
        upstream,
        Places(
            max_per_tenant=settings.max_embeddings_per_tenant, max_in_all=settings.max_embeddings
        ),
        seconds=settings.embeddings_seconds,
        metrics=EmbeddingsMetrics(base.registry),
    )
    models = ModelsApi(parts.routes, entrance, created=int(time.time()))
    return [*chat.routes(), *embeddings.routes(), *models.routes()]


def _discovery(parts: _Parts) -> dict[str, Any]:
    return {
        "grpc": parts.settings.public_grpc,
        "websocket": parts.settings.public_websocket_url,
        "sse": parts.settings.public_sse_url,
        "models": list(parts.routes()),
        "version": tidegate.__version__,
    }


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
        await self._jobs.drain(deadline.remaining() * _SHARE_OF_DRAIN)
