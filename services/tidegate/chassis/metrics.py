"""The metrics registry of a process, and the chassis's own metrics.

Each room declares its metrics in one class like `ChassisMetrics`, which takes the registry. Names
begin with `tidegate_`; labels never hold ids, tenants' texts or anything else without a bound.
"""

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

import tidegate

# Seconds; fine where a hop should be, coarse where only "too slow" matters.
CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def make_registry(service: str) -> CollectorRegistry:
    """A registry with the process's, the platform's and the build's metrics."""
    registry = CollectorRegistry(auto_describe=True)
    declare_process(registry, service)
    return registry


def declare_process(registry: CollectorRegistry, service: str) -> None:
    """Adds what every process tells of itself, whatever it does."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "tidegate_build_info",
        "Always 1; the labels say what is running.",
        ["service", "version", "python"],
        registry=registry,
    )
    build.labels(service, tidegate.__version__, platform.python_version()).set(1)


class ChassisMetrics:
    """What every process counts about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge(
            "tidegate_ready", "1 while all readiness conditions hold.", registry=registry
        )
        self.nats_connected = Gauge(
            "tidegate_nats_connected", "1 while connected to NATS.", registry=registry
        )
        self.nats_reconnects = Counter(
            "tidegate_nats_reconnects_total",
            "Connections to NATS that came back.",
            registry=registry,
        )
        self.nats_slow_consumer = Counter(
            "tidegate_nats_slow_consumer_total",
            "Messages dropped because this process did not take them in time.",
            registry=registry,
        )
        self.grpc_seconds = Histogram(
            "tidegate_grpc_server_seconds",
            "Duration of gRPC calls; streams count whole.",
            ["method", "code"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.http_seconds = Histogram(
            "tidegate_http_server_seconds",
            "Duration of HTTP requests by route; streams count whole.",
            ["method", "route", "status"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.incidents = Counter(
            "tidegate_incidents_total",
            "Errors that nobody foresaw, answered as INTERNAL.",
            ["surface"],
            registry=registry,
        )
