"""The gateway's metrics, each declared once."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class GatewayMetrics:
    """What one gateway lets in, refuses and ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.creates = Counter(
            "tidegate_gateway_creates_total",
            "Requests to create a job that were well formed, by outcome: accepted, repeated (the "
            "job was there), or the reason of the refusal.",
            ["outcome"],
            registry=registry,
        )
        self.settles = Counter(
            "tidegate_gateway_create_settles_total",
            "Creates sent again because their acknowledgement was lost or put off.",
            registry=registry,
        )
        self.waiting = Gauge(
            "tidegate_gateway_waiting_jobs",
            "Jobs that wait, as last counted for a create.",
            ["queue", "job_class"],
            registry=registry,
        )
        self.streams = Gauge(
            "tidegate_gateway_streams", "Event streams that are open.", registry=registry
        )
        self.slow_readers = Counter(
            "tidegate_gateway_slow_readers_total",
            "Event streams that were cut because their client did not read.",
            registry=registry,
        )
        self.reaped = Counter(
            "tidegate_gateway_reaped_total",
            "Jobs that the reaper ended or cleared away: expired, cancelled, or left in the queue "
            "though they had ended.",
            ["outcome"],
            registry=registry,
        )
        self.reaper_failures = Counter(
            "tidegate_gateway_reaper_failures_total",
            "Rounds of the reaper that JetStream did not answer, and jobs it could not end yet.",
            registry=registry,
        )
        self.unreadable = Counter(
            "tidegate_gateway_unreadable_total",
            "Stored jobs or logs that the reaper or a list could not read and left alone.",
            registry=registry,
        )
        self.tracked = Gauge(
            "tidegate_gateway_reaper_tracked_jobs",
            "Jobs whose deadline the reaper waits for; some of them have ended.",
            registry=registry,
        )
