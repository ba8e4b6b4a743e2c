"""The streaming room's metrics, each declared once.

The count of events is a plain number, read when somebody asks: a counter with a lock would cost
as much as the token that it counts.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override


class StreamingMetrics(Collector):
    """What one process carries; `websocket_events` and `sse_events` are counted by the surfaces."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.websocket_events = 0
        self.sse_events = 0
        self.sockets = Gauge("tidegate_websocket_sockets", "Open sockets.", registry=registry)
        self.subscriptions = Gauge(
            "tidegate_websocket_subscriptions", "Jobs followed over sockets.", registry=registry
        )
        self.closes = Counter(
            "tidegate_websocket_closes_total",
            "Sockets closed by us, by close code (1012 drained, 1013 too slow, 44xx refused).",
            ["code"],
            registry=registry,
        )
        self.commands = Counter(
            "tidegate_websocket_commands_total",
            "Jobs created and cancelled over sockets, by what the gateway said.",
            ["command", "outcome"],
            registry=registry,
        )
        self.refused = Counter(
            "tidegate_websocket_handshakes_refused_total",
            "Handshakes that ended in an HTTP error, by status.",
            ["status"],
            registry=registry,
        )
        self.streams = Gauge("tidegate_sse_streams", "Open SSE streams.", registry=registry)
        self.sse_cut = Counter(
            "tidegate_sse_cut_total", "SSE streams cut for reading too slowly.", registry=registry
        )
        registry.register(self)

    @override
    def collect(self) -> Iterator[Metric]:
        """The counts that are kept as plain numbers."""
        family = CounterMetricFamily(
            "tidegate_stream_events", "Events sent to clients.", labels=["surface"]
        )
        family.add_metric(["websocket"], self.websocket_events)
        family.add_metric(["sse"], self.sse_events)
        yield family
