"""The cache's metrics, each declared once."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds; a lookup has 50 ms by default, and a verifier seconds.
LOOKUP_BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.008, 0.0125, 0.02, 0.03, 0.05, 0.1, 0.5, 2.5)
STAGE_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.02, 0.05, 0.5)


class CacheMetrics:
    """What a cache is asked, what it answers and keeps, and how right that was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lookups = Counter(
            "tidegate_cache_lookups_total",
            "Lookups by tier (exact, semantic, none), outcome (hit, shadow, miss, bypass) and, "
            "for a miss or a bypass, its reason.",
            ["tier", "outcome", "reason"],
            registry=registry,
        )
        self.lookup_seconds = Histogram(
            "tidegate_cache_lookup_seconds",
            "Duration of lookups by outcome; gone: whoever asked did not wait for it.",
            ["outcome"],
            buckets=LOOKUP_BUCKETS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "tidegate_cache_stage_seconds",
            "What a lookup spends its time on: exact, embed, search, guard, verify.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.entries = Gauge(
            "tidegate_cache_entries", "Entries kept, of all tenants.", registry=registry
        )
        self.stores = Counter(
            "tidegate_cache_stores_total",
            "Answers offered, by what became of them: stored, exact_only (without a vector), or "
            "the reason that they were not kept for.",
            ["outcome"],
            registry=registry,
        )
        self.objections = Counter(
            "tidegate_cache_guard_objections_total",
            "Objections of the guard to candidates that were compared, by rule.",
            ["rule"],
            registry=registry,
        )
        self.invalidated = Counter(
            "tidegate_cache_invalidated_total", "Entries removed on request.", registry=registry
        )
        self.evicted = Counter(
            "tidegate_cache_evicted_total",
            "Entries removed to make room before they expired.",
            registry=registry,
        )
        self.judgements = JudgementMetrics(registry)
        self.spending = SpendingMetrics(registry)


class JudgementMetrics:
    """How right the hits were."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.shadows = Counter(
            "tidegate_cache_shadows_total",
            "Hits that the model answered too, by what the comparison said: right, wrong, or "
            "not_compared where it could not be made.",
            ["verdict"],
            registry=registry,
        )
        self.feedback = Counter(
            "tidegate_cache_feedback_total",
            "Hits that callers judged: right or wrong; unknown where the entry had gone.",
            ["verdict"],
            registry=registry,
        )
        self.verified = Counter(
            "tidegate_cache_verified_total",
            "Pairs of questions put to the verifier, by its answer: yes, no, or failed, which "
            "counts as no.",
            ["answer"],
            registry=registry,
        )
        self.tightened = Counter(
            "tidegate_cache_tightened_total",
            "Times that a tenant's threshold was tightened by this process.",
            registry=registry,
        )


class SpendingMetrics:
    """What the cache itself spends at providers; `use` is verifier or embedder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tokens = Counter(
            "tidegate_cache_tokens_total",
            "Tokens of the cache's own calls to providers.",
            ["use", "direction"],
            registry=registry,
        )
        self.cost = Counter(
            "tidegate_cache_cost_nano_usd_total",
            "Cost of the cache's own calls to providers, in nano-dollars, where it is known.",
            ["use"],
            registry=registry,
        )
        self.cost_unknown = Counter(
            "tidegate_cache_cost_unknown_total",
            "The cache's own calls to providers whose cost is not known.",
            ["use"],
            registry=registry,
        )
