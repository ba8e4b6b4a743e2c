"""The composition root of the cache."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from tidegate.cache.calibration import Calibration, CalibrationError, UncalibratedError
from tidegate.cache.calibration_file import calibration_for, read_calibration
from tidegate.cache.decision import Policy
from tidegate.cache.embedders.local import LocalEmbedder
from tidegate.cache.embedders.models import minilm, model_in
from tidegate.cache.embedders.remote import RemoteEmbedder
from tidegate.cache.embedders.shared import EmbedderComponent, SharedEmbedder
from tidegate.cache.explaining import Explaining
from tidegate.cache.forgotten import Forgotten
from tidegate.cache.guard import compare
from tidegate.cache.honesty import HonestyPolicy
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.honesty_store import HonestyStore
from tidegate.cache.lookups import LookupOptions, Lookups
from tidegate.cache.metrics import CacheMetrics
from tidegate.cache.opening import make_store
from tidegate.cache.parts import Parts, StoreComponent
from tidegate.cache.policy import policy_of
from tidegate.cache.questions import Questions
from tidegate.cache.request import Limits
from tidegate.cache.searching import Search
from tidegate.cache.service import SERVICE, CacheService, Core
from tidegate.cache.settings import CacheSettings
from tidegate.cache.shadows import Shadows
from tidegate.cache.spending import Spending
from tidegate.cache.storing import KeepingOptions, Storing
from tidegate.cache.upkeep import Upkeep
from tidegate.cache.upstream import Upstream, make_upstream
from tidegate.cache.verifier import ModelVerifier, Providers
from tidegate.chassis.component import Deadline
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.grpc_server import GrpcServer
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.keyring import Keyring, make_keyring
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import Base, make_base
from tidegate.chassis.settings import SettingsError, listen_addresses, load_settings
from tidegate.chassis.tasks import TaskGuard
from tidegate.providers.embedding_calls import EmbeddingCalls
from tidegate.providers.prices import PriceBook

_log = structlog.stdlib.get_logger(module=__name__)


def run() -> int:
    """Serve in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(CacheSettings)))


async def main(settings: CacheSettings) -> None:
    """Serve until a signal, then drain. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="cache")
    await make_cache(settings).lifecycle.run()


@dataclass(frozen=True, slots=True)
class Outside:
    """What tests bring along instead of what the settings say."""

    clock: Callable[[], float] = time.time
    draw: Callable[[], float] = random.random
    embedder: EmbedderComponent | None = None
    store: StoreComponent | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache's process, and its servers, whose addresses are known once it has started."""

    lifecycle: Lifecycle
    grpc: GrpcServer
    health: HttpServer


def make_cache(settings: CacheSettings, outside: Outside | None = None) -> Cache:
    """The whole cache, to be called on the event loop that will run it.

    Raises:
        SettingsError: keys, routes, calibration or tracing cannot be as the settings say.
    """
    # Whatever can be wrong with the settings is said before anything begins.
    guard = TaskGuard()
    fleet = FleetKey.of_file(settings.cache_key_file)
    keyring = make_keyring(settings, guard, listen_addresses(settings))
    base = make_base(
        "cache", nats=settings, tracing=settings, pages=settings, drain=settings, guard=guard
    )
    upstream = make_upstream(settings, base)
    metrics = CacheMetrics(base.registry)
    spending = Spending(metrics, None if upstream is None else PriceBook())
    outside = outside or Outside()
    made = _Made(settings, base, upstream, outside, metrics, spending)
    return _compose(made, fleet, keyring)


@dataclass(frozen=True, slots=True)
class _Made:
    """What the cache's own parts are made from. `upstream` None: no model is called."""

    settings: CacheSettings
    base: Base
    upstream: Upstream | None
    outside: Outside
    metrics: CacheMetrics
    spending: Spending


def _compose(made: _Made, fleet: FleetKey, keyring: Keyring) -> Cache:
    settings, base = made.settings, made.base
    parts = _make_parts(made)
    verifier = _make_verifier(made)
    shadows = Shadows(parts, verifier, base.guard, agreement=settings.answer_agreement)
    forgotten = Forgotten(time.monotonic)
    upkeep = Upkeep(parts, forgotten, base.guard, threshold=settings.cache_threshold)
    core = _make_core(made, parts, verifier, shadows=shadows, forgotten=forgotten, upkeep=upkeep)
    grpc = GrpcServer(
        "grpc",
        settings.cache_listen,
        {SERVICE: CacheService(core, keyring, fleet).register},
        settings=settings,
        health=base.health,
        metrics=base.chassis_metrics,
        tracing=base.tracing,
    )
    upstream = made.upstream
    lifecycle = base.compose(
        *(() if upstream is None else upstream.components()),
        _Guard(),
        parts.questions,
        parts.store,
        parts.honesty,
        shadows,
        core.storing,
        upkeep,
        grpc,
        before_nats=[keyring, *([] if upstream is None else [upstream.routes_file])],
    )
    return Cache(lifecycle, grpc, base.pages)


class _Guard:
    """Reads the guard's words before the first question comes: that takes longer than a lookup."""

    name = "guard"

    async def start(self) -> None:
        await asyncio.to_thread(compare, "", "")

    async def stop(self, deadline: Deadline) -> None:
        """Nothing."""


def _make_core(
    made: _Made,
    parts: Parts,
    verifier: ModelVerifier | None,
    *,
    shadows: Shadows,
    forgotten: Forgotten,
    upkeep: Upkeep,
) -> Core:
    settings = made.settings
    limits = Limits(
        temperature=settings.cache_max_temperature,
        question_characters=settings.cache_max_question_characters,
    )
    search = Search(parts, _policy(settings), compare, agreement=settings.answer_agreement)
    looking = LookupOptions(limits, settings.cache_deadline_seconds, settings.shadow_share)
    keeping = KeepingOptions(
        limits,
        settings.cache_ttl_seconds,
        settings.cache_ttl_jitter,
        gists=settings.cache_rival_margin > 0,
    )
    return Core(
        lookups=Lookups(parts, search, verifier, looking),
        storing=Storing(parts, shadows, forgotten, made.base.guard, keeping),
        explaining=Explaining(search, limits, verifies=verifier is not None),
        upkeep=upkeep,
        store=parts.store.kind,
        embedder=lambda: "" if parts.questions.off else parts.questions.embedder,
        threshold=settings.cache_threshold,
        now_ms=parts.now_ms,
    )


def _policy(settings: CacheSettings) -> Policy:
    band_low = None if settings.verifier_model is None else settings.verifier_band_low
    return policy_of(settings, band_low=band_low)


def _honesty_policy(settings: CacheSettings) -> HonestyPolicy:
    policy = _policy(settings)
    return HonestyPolicy(settings.max_false_hits, discount=policy.threshold - policy.lowest)


def _make_parts(made: _Made) -> Parts:
    settings, base, outside = made.settings, made.base, made.outside
    questions = Questions(_make_embedder(made), _calibrations(settings, outside))
    honesty = HonestyBook(
        HonestyStore(base.jetstream),
        base.guard,
        _honesty_policy(settings),
        made.metrics.judgements,
        threshold=settings.cache_threshold,
        embedder=lambda: questions.embedder,
    )
    store = outside.store or make_store(
        settings, questions, base.guard, made.metrics, outside.clock
    )
    return Parts(store, questions, honesty, made.metrics, outside.clock, outside.draw)


def _make_embedder(made: _Made) -> EmbedderComponent | None:
    """Texts that it would cut off have no vector: their ends could differ unseen."""
    choice = made.settings.embedder
    if made.outside.embedder is not None:
        return made.outside.embedder
    match choice.kind:
        case "none":
            return None
        case "minilm":
            return SharedEmbedder(LocalEmbedder(minilm, refuse_longer=True))
        case "path":
            folder = Path(choice.value)
            return SharedEmbedder(LocalEmbedder(lambda: model_in(folder), refuse_longer=True))
        case "route":
            return SharedEmbedder(_remote(made, choice.value), finish=True)


def _remote(made: _Made, model: str) -> RemoteEmbedder:
    upstream, settings, spending = made.upstream, made.settings, made.spending
    assert upstream is not None  # noqa: S101  The settings say so.
    return RemoteEmbedder(
        model,
        routes=upstream.routes,
        calls=EmbeddingCalls(upstream.caller, upstream.clients, made.base.tracing),
        guard=made.base.guard,
        dimension=settings.cache_embedder_dimension,
        seconds=settings.cache_embedder_seconds,
        refuse_longer=True,
        on_usage=lambda target, usage: spending.book("embedder", target, usage),
    )


def _make_verifier(made: _Made) -> ModelVerifier | None:
    settings, upstream = made.settings, made.upstream
    if settings.verifier_model is None or upstream is None:
        return None
    return ModelVerifier(
        settings.verifier_model,
        Providers(upstream.routes, upstream.caller, upstream.clients, made.base.tracing),
        seconds=settings.verifier_seconds,
        metrics=made.metrics,
        spending=made.spending,
    )


def _calibrations(settings: CacheSettings, outside: Outside) -> Callable[[str], Calibration | None]:
    path = settings.cache_calibration_file
    try:
        if path is not None and path.exists():
            read_calibration(path)
    except CalibrationError as error:
        raise SettingsError(f"TIDEGATE_CACHE_CALIBRATION_FILE: {error}") from error

    def find(fingerprint: str) -> Calibration | None:
        if outside.calibration is not None:
            return outside.calibration
        try:
            return calibration_for(fingerprint, path)
        except UncalibratedError as error:
            _log.error("only exact hits are served", reason=str(error))
            return None

    return find
