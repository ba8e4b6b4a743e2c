"""The worker's metrics, each declared once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidegate.contracts.events import Terminal, Usage


class WorkerMetrics:
    """What one worker takes, runs and ends; `bills` is what that used and cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.bills = BillMetrics(registry)
        self.jobs = Counter(
            "tidegate_worker_jobs_total",
            "Deliveries by what became of them: completed, failed, cancelled or expired here; "
            "ended (it already was), lost (another owner has it), handed_back, parked (put off "
            "while its provider is down), unreadable (left to a newer release), doubtful (read "
            "after a stand-still, and left to be delivered again), fault.",
            ["outcome", "job_class"],
            registry=registry,
        )
        self.running = Gauge(
            "tidegate_worker_running_jobs", "Jobs held.", ["job_class"], registry=registry
        )
        self.slots = Gauge("tidegate_worker_slots", "Jobs that may run at once.", registry=registry)
        self.attempts = Counter(
            "tidegate_worker_attempts_total",
            "Attempts begun, by what made them needed: first, or the reason that the one before "
            "failed for (again: not known here); without a call: exact, semantic (answered by the "
            "cache), coalesced (by another job's call).",
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


class WorkerCacheMetrics:
    """What came of handing answers to the cache, and of calling once for all who ask the same."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stores = Counter(
            "tidegate_worker_cache_stores_total",
            "Whole answers of models: stored, refused (by the cache), failed (to be handed over), "
            "crowded (too many at once), unled (another job leads by now).",
            ["outcome"],
            registry=registry,
        )
        self.flights = Counter(
            "tidegate_worker_flights_total",
            "Misses by who calls the model for them: led (the job), inherited (it took over from "
            "another), followed (another; counts once for each that was followed), alone (the job, "
            "beside another or without knowing). And leases that were lost in mid-call: lost.",
            ["outcome"],
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
