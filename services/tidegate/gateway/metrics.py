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
        self.streams = Gauge(
            "tidegate_gateway_streams", "Event streams that are open.", registry=registry
        )
        self.slow_readers = Counter(
            "tidegate_gateway_slow_readers_total",
            "Event streams that were cut because their client did not read.",
            registry=registry,
        )
        self._of_reaping(registry)
        self._of_readers_that_went(registry)

    def _of_reaping(self, registry: CollectorRegistry) -> None:
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
        self.revived = Counter(
            "tidegate_gateway_revived_logs_total",
            "Ended logs of which nats-server had brought back what was replaced, and that were "
            "put right.",
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

    def _of_readers_that_went(self, registry: CollectorRegistry) -> None:
        self.lingering = Gauge(
            "tidegate_gateway_lingering_jobs",
            "Jobs whose last reader somewhere has gone, and that may be cancelled for it.",
            registry=registry,
        )
        self.lingers = Counter(
            "tidegate_gateway_lingers_total",
            "Jobs whose last reader somewhere had gone, by what became of that: cancelled, read "
            "(another reader came or was there), ended, detached (to go on, by its policy), "
            "unreadable, or too_many (not looked at, and so to go on).",
            ["outcome"],
            registry=registry,
        )
        self.recent_joins = Counter(
            "tidegate_gateway_blind_repeats_joined_total",
            "Chat completions that a client repeated without a key and that got the same job.",
            registry=registry,
        )
        self.recent_failures = Counter(
            "tidegate_gateway_blind_repeats_failures_total",
            "Times that the memory for such repeats could not be written or read.",
            registry=registry,
        )
