"""The worker's metrics, each declared once."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tidegate.contracts.events import Terminal, Usage

# Seconds; from a cached first word to the longest answers.
LLM_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class WorkerMetrics:
    """What one worker takes, runs and ends; `bills` is what that used and cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.bills = BillMetrics(registry)
        self.jobs = Counter(
            "tidegate_worker_jobs_total",
            "Deliveries by what became of them: completed, failed, cancelled or expired here; "
            "ended (it already was), lost (another owner has it), handed_back, parked (put off "
            "while its provider is down), unreadable (left to a newer release), fault.",
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
        self.attempts = Counter(
            "tidegate_worker_attempts_total",
            "Attempts begun, by what made them needed: first, or the reason that the one before "
            "failed for (again: not known here).",
            ["why"],
            registry=registry,
        )
        self.waiting = Gauge(
            "tidegate_worker_waiting_jobs",
            "Batch jobs that hold a slot while they wait for their provider.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "tidegate_worker_dead_letters_total", "Dead letters written.", registry=registry
        )
        self.pulls = Counter(
            "tidegate_worker_pulls_total",
            "Requests for jobs, by how they ended: filled, expired, empty, refused, silent.",
            ["ended"],
            registry=registry,
        )


class BillMetrics:
    """What a worker's jobs used, and what it cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tokens = Counter(
            "tidegate_worker_tokens_total",
            "Tokens of ended attempts, failed ones too: as told by providers or, where they told "
            "nothing, as counted here. Cached input is part of the input, reasoning of the output.",
            ["direction"],
            registry=registry,
        )
        self.cost = Counter(
            "tidegate_worker_cost_nano_usd_total",
            "Cost of the attempts that ended jobs, in nano-dollars, where the price is known.",
            ["provider", "model"],
            registry=registry,
        )
        self.lost_cost = Counter(
            "tidegate_worker_lost_cost_nano_usd_total",
            "Cost of attempts that ended no job, in nano-dollars, where all prices are known; by "
            "what the job called last.",
            ["provider", "model"],
            registry=registry,
        )
        self.cost_unknown = Counter(
            "tidegate_worker_cost_unknown_total",
            "Ended jobs whose cost, or that of their lost attempts, is not known.",
            ["provider", "model"],
            registry=registry,
        )

    def used(self, usage: Usage) -> None:
        """An attempt has ended."""
        for direction, tokens in (
            ("input", usage.input_tokens),
            ("cached_input", usage.cached_input_tokens),
            ("output", usage.output_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            self.tokens.labels(direction).inc(tokens)

    def billed(self, called: tuple[str, str], end: Terminal) -> None:
        """A job has ended, whose last call was to `called` (provider, upstream model), if any."""
        if called == ("", ""):
            return
        if end.cost_nano_usd is None or end.lost_cost_nano_usd is None:
            self.cost_unknown.labels(*called).inc()
        self.cost.labels(*called).inc(end.cost_nano_usd or 0)
        self.lost_cost.labels(*called).inc(end.lost_cost_nano_usd or 0)
