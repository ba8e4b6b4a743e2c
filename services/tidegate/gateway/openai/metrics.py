"""The metrics of direct calls, each declared once."""

from prometheus_client import CollectorRegistry, Counter


class EmbeddingsMetrics:
    """What embeddings were asked for, and what they cost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "tidegate_gateway_embeddings_total",
            "Requests for embeddings that were called for, by outcome: ok, or the reason why not.",
            ["model", "outcome"],
            registry=registry,
        )
        self.tokens = Counter(
            "tidegate_gateway_embeddings_tokens_total",
            "Input tokens of embeddings, estimated where the provider told none.",
            ["model"],
            registry=registry,
        )
        self.cost = Counter(
            "tidegate_gateway_embeddings_cost_nano_usd_total",
            "What embeddings cost, in billionths of a US dollar, where the price is known.",
            ["model"],
            registry=registry,
        )
        self.unpriced = Counter(
            "tidegate_gateway_embeddings_unpriced_total",
            "Requests for embeddings whose price is not known.",
            ["model"],
            registry=registry,
        )
