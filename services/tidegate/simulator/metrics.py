"""Every metric of the simulator, read from the account of calls when somebody asks.

Collected at scrape time, because even one counter per token would cost as much as the token.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from tidegate.simulator.calls import CallLog

_PREFIX: Final = "tidegate_simulator_"
_LATENESS_BOUNDS: Final = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25]


class SimulatorMetrics(Collector):
    """Register one per process. Counters fall back to 0 when a test resets the account."""

    def __init__(self, log: CallLog) -> None:
        self._log = log

    @override
    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        yield self._calls_started()
        yield self._calls_ended()
        yield self._failures()
        yield _counter(
            "tokens", "Tokens sent, or generated for answers in one piece.", self._log.tokens_sent
        )
        yield _counter("stalls", "Silences in mid-stream, on demand.", self._log.stalls)
        yield GaugeMetricFamily(
            f"{_PREFIX}calls_running", "Calls under way.", value=self._log.running
        )
        yield self._lateness()

    def _calls_started(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}calls_started", "Calls that reached the simulator.", labels=["endpoint"]
        )
        for endpoint, number in self._log.started.items():
            family.add_metric([endpoint], number)
        return family

    def _calls_ended(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}calls_ended",
            "Calls that ended, by how: completed, aborted by the client, or failed.",
            labels=["endpoint", "outcome"],
        )
        for (endpoint, outcome), number in self._log.outcomes.items():
            family.add_metric([endpoint, outcome.value], number)
        return family

    def _failures(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}failures", "Failed calls, by status or way of breaking off.", labels=["kind"]
        )
        for kind, number in self._log.failures.items():
            family.add_metric([kind], number)
        return family

    def _lateness(self) -> Metric:
        late = self._log.lateness
        names = [str(bound) for bound in _LATENESS_BOUNDS] + ["+Inf"]
        return HistogramMetricFamily(
            f"{_PREFIX}token_lateness_seconds",
            "How long after its time a token was written.",
            buckets=list(zip(names, late.cumulative(_LATENESS_BOUNDS), strict=True)),
            sum_value=late.total,
        )


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}{name}", text, value=value)
