"""The operator's metrics, each declared once. A `pool` is `namespace/name`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tidegate.chassis.metrics import CALL_BUCKETS

_POOL = ["pool", "queue"]


class OperatorMetrics:
    """What one replica of the operator sees and does; a follower's gauges of pools are empty."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leading = Gauge(
            "tidegate_operator_leading", "1 while this replica leads.", registry=registry
        )
        self.pools = Gauge("tidegate_operator_pools", "Pools that are kept.", registry=registry)
        self.calls = Counter(
            "tidegate_operator_api_calls_total",
            "Requests to the Kubernetes API, by method and status; 0: it did not answer.",
            ["method", "status"],
            registry=registry,
        )
        self.decisions = Counter(
            "tidegate_operator_changes_total",
            "Changes of a pool's replicas, by direction (out, in) and by what bounded the number.",
            ["direction", "limiter"],
            registry=registry,
        )
        self._of_looks(registry)
        self._of_pools(registry)

    def _of_looks(self, registry: CollectorRegistry) -> None:
        self.passes = Counter(
            "tidegate_operator_passes_total",
            "Looks at a pool by how they ended: done, held (not known enough to decide), refused "
            "(by the Kubernetes API), outdated (what was decided on had changed), failed.",
            ["ended"],
            registry=registry,
        )
        self.pass_seconds = Histogram(
            "tidegate_operator_pass_seconds",
            "From the begin of a look at a pool to its end, writes included.",
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.lag_seconds = Histogram(
            "tidegate_operator_lag_seconds",
            "How much later than planned a look at a pool began.",
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.wakes = Counter(
            "tidegate_operator_wakes_total",
            "Gateways' words that a job was accepted, for a queue with a pool.",
            registry=registry,
        )

    def _of_pools(self, registry: CollectorRegistry) -> None:
        self.desired = Gauge(
            "tidegate_pool_desired_replicas", "Replicas wanted.", _POOL, registry=registry
        )
        self.current = Gauge(
            "tidegate_pool_replicas", "Replicas that there are.", _POOL, registry=registry
        )
        self.ready = Gauge(
            "tidegate_pool_ready_replicas", "Those that are ready.", _POOL, registry=registry
        )
        self.depth = Gauge(
            "tidegate_pool_queue_depth", "Jobs that wait or run.", _POOL, registry=registry
        )
        self.oldest = Gauge(
            "tidegate_pool_oldest_seconds",
            "How long the oldest job that waits has waited; 0 where none does.",
            _POOL,
            registry=registry,
        )
        self.degraded = Gauge(
            "tidegate_pool_degraded",
            "1 while the pool is not kept as it should be; its condition says why.",
            _POOL,
            registry=registry,
        )

    def know_nothing(self, pool: str, queue: str) -> None:
        """Nothing is known of a pool's queue just now: no figure rather than an old one."""
        for gauge in (self.depth, self.oldest):
            gauge.remove(pool, queue)

    def forget(self, pool: str, queue: str) -> None:
        """The pool is no more."""
        of_pools = (
            self.desired,
            self.current,
            self.ready,
            self.depth,
            self.oldest,
            self.degraded,
        )
        for gauge in of_pools:
            gauge.remove(pool, queue)
