"""The four figures as metrics, each declared once.

`Figures` are the worker's, which knows what became of each job; `QueueFigures` are the gateway's,
which looks at the queues. Only sampled traces stand on exemplars: the id of another leads nowhere.
"""

from typing import Final

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tidegate.contracts.events import CacheTier, Completed, Terminal
from tidegate.contracts.spending import add_cost
from tidegate.figures.spread import LLM_BUCKETS, USD_BUCKETS

NANO: Final = 1e9


class Figures:
    """What one worker's answers took, where they came from, and what they cost.

    A `route` is a public model. The `tier` of an answer is `exact`, `semantic` or `coalesced` where
    no model was called for it, and `miss` where one was, whether the cache was asked before or not.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ttft_seconds = Histogram(
            "tidegate_model_ttft_seconds",
            "From the start of an attempt to its first token.",
            ["route", "tier", "class"],
            buckets=LLM_BUCKETS,
            registry=registry,
        )
        self.response_seconds = Histogram(
            "tidegate_model_response_seconds",
            "From the acceptance of a job to its completion, the time in the queue included.",
            ["route", "tier", "class"],
            buckets=LLM_BUCKETS,
            registry=registry,
        )
        # As the workers see them: the cache counts its own, and cannot know what it missed.
        self.lookups = Counter(
            "tidegate_worker_cache_lookups_total",
            "Jobs by what the cache had for them: hit (tier exact, semantic, or coalesced, which "
            "is an answer by another job's call); and with tier none: miss, shadow (a hit that "
            "the model answered too), bypass (cannot be cached), or, where the cache gave no "
            "answer, timeout, unavailable, error, resting (not asked, for it failed just before).",
            ["tier", "outcome"],
            registry=registry,
        )
        self._of_money(registry)

    def _of_money(self, registry: CollectorRegistry) -> None:
        self.cost_usd = Histogram(
            "tidegate_interaction_cost_usd",
            "What a job cost in US dollars, lost attempts included, where all prices are known; "
            "completed jobs, and others that cost something. Hits cost nothing.",
            ["route", "tier"],
            buckets=USD_BUCKETS,
            registry=registry,
        )
        self.cost_unknown = Counter(
            "tidegate_interaction_cost_unknown_total",
            "Ended jobs whose cost is not known, since a price is not.",
            ["route", "tier"],
            registry=registry,
        )
        self.saved_usd = Counter(
            "tidegate_saved_usd_total",
            "What answers had cost, in US dollars, that were given again without calling a model.",
            ["tier"],
            registry=registry,
        )
        self.saved_unknown = Counter(
            "tidegate_saved_unknown_total",
            "Answers that were given again and whose cost was not known.",
            ["tier"],
            registry=registry,
        )

    def first_token(self, route: str, tier: CacheTier, job_class: str, seconds: float) -> None:
        """An attempt has its first token, `seconds` after it began."""
        self.ttft_seconds.labels(route, tier, job_class).observe(seconds, _exemplar())

    def looked_up(self, outcome: str, tier: CacheTier | None = None) -> None:
        """It is settled what the cache has for a job; `tier` of a hit. Once for each job asked for.

        `coalesced` is a hit too: a job that is answered by another's call.
        """
        self.lookups.labels(tier or "none", outcome).inc()

    def ended(
        self, route: str, tier: CacheTier, job_class: str, end: Terminal, seconds: float
    ) -> None:
        """A job has ended, `seconds` after its acceptance; its last attempt was of this tier."""
        if isinstance(end, Completed):
            labels = (route, tier, job_class)
            self.response_seconds.labels(*labels).observe(seconds, _exemplar())
            if tier != "miss":
                self._saved(tier, end.saved_nano_usd)
        self._cost(route, tier, end)

    def _saved(self, tier: CacheTier, nano_usd: int | None) -> None:
        if nano_usd is None:
            self.saved_unknown.labels(tier).inc()
        else:
            self.saved_usd.labels(tier).inc(nano_usd / NANO)

    def _cost(self, route: str, tier: CacheTier, end: Terminal) -> None:
        # One that failed before it cost anything is no interaction: an outage would look cheap.
        cost = add_cost(end.cost_nano_usd, end.lost_cost_nano_usd)
        if cost is None:
            self.cost_unknown.labels(route, tier).inc()
        elif cost or isinstance(end, Completed):
            self.cost_usd.labels(route, tier).observe(cost / NANO, _exemplar())


class QueueFigures:
    """The queues as one gateway sees them; all gateways see the same, so queries take the most."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.depth = Gauge(
            "tidegate_queue_depth",
            "Jobs that wait for their first worker.",
            ["queue", "class"],
            registry=registry,
        )
        self.running = Gauge(
            "tidegate_queue_running",
            "Jobs that were delivered and have not ended, those that were put off included.",
            ["queue", "class"],
            registry=registry,
        )
        self.oldest_seconds = Gauge(
            "tidegate_queue_oldest_seconds",
            "How long the oldest job that waits has waited; 0 where none does.",
            ["queue", "class"],
            registry=registry,
        )

    def show(
        self, queue: str, job_class: str, *, waiting: int, running: int, oldest_seconds: float
    ) -> None:
        """How a queue stands now."""
        self.depth.labels(queue, job_class).set(waiting)
        self.running.labels(queue, job_class).set(running)
        self.oldest_seconds.labels(queue, job_class).set(oldest_seconds)

    def forget(self, queue: str, job_class: str) -> None:
        """It is not known how a queue stands: no figure rather than an old one."""
        for gauge in (self.depth, self.running, self.oldest_seconds):
            gauge.remove(queue, job_class)


def _exemplar() -> dict[str, str] | None:
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": trace.format_trace_id(context.trace_id)}
