"""The metrics of calls to providers, each declared once; one set for a process."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.providers.breaker import Phase

# Breakers' states, in the order of how much they let through.
PHASES: Final[Mapping[Phase, int]] = {Phase.CLOSED: 0, Phase.HALF_OPEN: 1, Phase.OPEN: 2}


class ProviderMetrics:
    """What a process calls, what becomes of it, and what its breakers think of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.breaker_state = Gauge(
            "tidegate_breaker_state",
            "The circuit breaker as this process knows it: 0 closed, 1 half-open, 2 open.",
            ["provider", "model"],
            registry=registry,
        )
        self.breaker_transitions = Counter(
            "tidegate_breaker_transitions_total",
            "Changes of a breaker that this process made: closed, open, half_open.",
            ["provider", "model", "to"],
            registry=registry,
        )
        self.breaker_refused = Counter(
            "tidegate_breaker_refused_total",
            "Calls that were not made since the breaker was open.",
            ["provider", "model"],
            registry=registry,
        )
        self.breaker_alone = Counter(
            "tidegate_breaker_alone_total",
            "Probes made without the fleet's leave, since NATS could not be asked.",
            registry=registry,
        )
        self.calls = Counter(
            "tidegate_provider_calls_total",
            "Calls to providers by how they ended: ok, cancelled (or failed by a fault of ours), "
            "or the reason of the failure.",
            ["provider", "model", "outcome"],
            registry=registry,
        )
        self.waits = Counter(
            "tidegate_provider_waits_total",
            "Waits before another round of calls, by what they waited for.",
            ["reason"],
            registry=registry,
        )


class RoutesMetrics:
    """Whether a process uses the routes that its file holds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stale = Gauge(
            "tidegate_routes_stale",
            "1 while the routes file holds something that was refused, and older routes are used.",
            registry=registry,
        )
