"""The event log's metrics, each declared once."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class EventLogMetrics:
    """Counters of the writer and the reader of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.appends = Counter(
            "tidegate_log_appends_total", "Messages stored in event logs.", registry=registry
        )
        self.events = Counter(
            "tidegate_log_events_total", "Events stored in event logs.", registry=registry
        )
        self.retries = Counter(
            "tidegate_log_append_retries_total",
            "Appends sent again because their acknowledgement was lost or put off.",
            registry=registry,
        )
        self.fenced = Counter(
            "tidegate_log_fenced_total",
            "Writers that found a newer owner of their log and fell silent.",
            registry=registry,
        )
        self.tails = Gauge(
            "tidegate_log_tails", "Logs held in memory for readers.", registry=registry
        )
        self.received = Counter(
            "tidegate_log_received_total", "Live messages taken for readers.", registry=registry
        )
        self.repairs = Counter(
            "tidegate_log_repairs_total",
            "Replays: a first read, a gap, a reconnect, or an idle tail found behind.",
            ["cause"],
            registry=registry,
        )
