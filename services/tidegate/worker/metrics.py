"""The worker's metrics, each declared once."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds; from a cached first word to the longest answers.
LLM_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class WorkerMetrics:
    """What one worker takes, runs and ends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.jobs = Counter(
            "tidegate_worker_jobs_total",
            "Deliveries by what became of them: completed, failed, cancelled or expired here; "
            "ended (it already was), lost (another owner has it), handed_back, unreadable (left to "
            "a newer release), fault.",
            ["outcome", "job_class"],
            registry=registry,
        )
        self.running = Gauge(
            "tidegate_worker_running_jobs", "Jobs held.", ["job_class"], registry=registry
        )
        self.slots = Gauge("tidegate_worker_slots", "Jobs that may run at once.", registry=registry)
        self.ttft_seconds = Histogram(
            "tidegate_worker_ttft_seconds",
            "From the start of an attempt to its first token.",
            ["job_class"],
            buckets=LLM_BUCKETS,
            registry=registry,
        )
        self.total_seconds = Histogram(
            "tidegate_worker_total_seconds",
            "From the acceptance of a job to its completion.",
            ["job_class"],
            buckets=LLM_BUCKETS,
            registry=registry,
        )
        self.tokens = Counter(
            "tidegate_worker_tokens_total",
            "Tokens of ended attempts: input as told by providers; output, where they told "
            "nothing, as counted here.",
            ["direction"],
            registry=registry,
        )
        self.provider_errors = Counter(
            "tidegate_worker_provider_errors_total",
            "Calls to providers that failed.",
            ["provider", "reason"],
            registry=registry,
        )
        self.pulls = Counter(
            "tidegate_worker_pulls_total",
            "Requests for jobs, by how they ended: filled, expired, empty, refused, silent.",
            ["ended"],
            registry=registry,
        )
