"""What the cache itself spends at providers: counted, and never billed to a job."""

from tidegate.cache.metrics import CacheMetrics
from tidegate.contracts.events import Usage
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Target


class Spending:
    """Books calls in the metrics. `prices` None: nothing is called that costs anything."""

    def __init__(self, metrics: CacheMetrics, prices: PriceBook | None) -> None:
        self._metrics = metrics.spending
        self._prices = prices

    def book(self, use: str, target: Target, usage: Usage) -> None:
        """A call has ended that used this."""
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._metrics.tokens.labels(use, direction).inc(tokens)
        cost = None if self._prices is None else self._prices.cost(target, usage)
        if cost is None:
            self._metrics.cost_unknown.labels(use).inc()
        else:
            self._metrics.cost.labels(use).inc(cost)
