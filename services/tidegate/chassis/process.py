"""What every service on NATS stands on: made in one place, begun in one order.

A composition root makes a `Base`, builds its own parts from it, and hands them to `compose`::

    base = make_base("worker", nats=settings, tracing=settings, pages=settings, drain=settings)
    lifecycle = base.compose(*parts)
"""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from tidegate.chassis.component import Component
from tidegate.chassis.health import Health, serve_health
from tidegate.chassis.http_server import HttpServer
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.jetstream_replies import JetStreamReplies
from tidegate.chassis.lifecycle import Lifecycle
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    NatsSettings,
    TracingSettings,
)
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.tracing import Tracing, configure_tracing


@dataclass(frozen=True, slots=True)
class Base:
    """The ground of one process. Nothing of it has begun; `pages` are its health pages."""

    lifecycle: Lifecycle
    guard: TaskGuard
    health: Health
    pages: HttpServer
    registry: CollectorRegistry
    chassis_metrics: ChassisMetrics
    tracing: Tracing
    nats: NatsConnection
    jetstream: JetStream

    def compose(self, *parts: Component, before_nats: Iterable[Component] = ()) -> Lifecycle:
        """The lifecycle with all in order, to be called once.

        The pages come first, so that they answer while all else waits. `parts` begin once
        JetStream can be asked; `before_nats` is for what would be wrong without it too, and should
        not wait to say so.
        """
        replies = JetStreamReplies(self.jetstream)
        self.lifecycle.add(self.pages, self.tracing, *before_nats, self.nats, replies, *parts)
        return self.lifecycle


def make_base(
    service: str,
    *,
    nats: NatsSettings,
    tracing: TracingSettings,
    pages: HealthSettings,
    drain: DrainSettings,
    guard: TaskGuard | None = None,
) -> Base:
    """The ground of a process; `service` names it in metrics, spans and inboxes.

    A service's settings have all four groups; Python cannot ask for that in one type. `guard`:
    None makes one.

    Raises:
        SettingsError: tracing cannot be as the settings say.
    """
    # Before anything that logs: what is wrong with the settings is then all that is said.
    tracer = configure_tracing(tracing, service=service)
    guard = guard or TaskGuard()
    registry = make_registry(service)
    metrics = ChassisMetrics(registry)
    health = Health(metrics)
    connection = NatsConnection(nats, health, guard, metrics, service=service)
    return Base(
        lifecycle=Lifecycle(drain, health, guard),
        guard=guard,
        health=health,
        pages=serve_health(pages, health, registry),
        registry=registry,
        chassis_metrics=metrics,
        tracing=tracer,
        nats=connection,
        jetstream=JetStream(connection.client),
    )
