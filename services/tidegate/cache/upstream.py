"""How the cache calls models: by the routes, through the fleet's circuit breakers."""

import secrets
from dataclasses import dataclass

from tidegate.cache.settings import CacheSettings
from tidegate.chassis.component import Component
from tidegate.chassis.process import Base
from tidegate.providers.breakers import Breakers
from tidegate.providers.calling import Caller
from tidegate.providers.clients import Clients
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.routes import Routes, RoutesError
from tidegate.providers.routes_file import RoutesFile

# Calls at once at each provider; embeddings go in batches, and a verification is short.
_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Upstream:
    """What models are called with. `routes_file` begins before the others."""

    routes_file: RoutesFile
    breakers: Breakers
    clients: Clients
    caller: Caller

    def routes(self) -> Routes:
        """Those in force now."""
        return self.routes_file.current

    def components(self) -> tuple[Component, ...]:
        """What begins once JetStream can be asked."""
        return self.clients, self.breakers


def make_upstream(settings: CacheSettings, base: Base) -> Upstream | None:
    """None where the settings name no model that is called.

    Raises:
        SettingsError: the routes lack such a model, or its key, or cannot be used.
    """
    named = _models(settings)
    if settings.routes_file is None or not named:
        return None
    path = settings.routes_file

    def check(routes: Routes) -> None:
        for model, kind in named.items():
            if model not in routes or routes[model].kind != kind:
                raise RoutesError(path, "models", f"there is no {kind} model {model}")
        routes.require_keys(named)

    metrics = ProviderMetrics(base.registry)
    owner = f"cache-{secrets.token_hex(6)}"
    routes_file = RoutesFile(path, base.guard, base.registry, check=check)
    breakers = Breakers(base.nats, base.jetstream, base.guard, metrics, owner=owner)
    clients = Clients(base.guard, concurrency=_CONCURRENCY)
    routes_file.on_change(lambda now: clients.keep(now.targets))
    return Upstream(routes_file, breakers, clients, Caller(breakers, metrics))


def _models(settings: CacheSettings) -> dict[str, str]:
    """The models that are called, and what kind each has to be."""
    named: dict[str, str] = {}
    if settings.embedder.kind == "route":
        named[settings.embedder.value] = "embeddings"
    if settings.verifier_model is not None:
        named[settings.verifier_model] = "chat"
    return named
