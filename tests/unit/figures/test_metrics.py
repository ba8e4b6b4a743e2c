"""What is counted of a job: a figure that counts wrongly is believed all the same."""

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tests.support.figures import completed
from tidegate.contracts.events import Cancelled, Failed, Terminal
from tidegate.figures.metrics import Figures, QueueFigures

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class Counted:
    """Figures, and what they are told to Prometheus as."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.figures = Figures(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_an_answer_is_timed_by_route_tier_and_class(counted: Counted) -> None:
    counted.figures.first_token("sim", "exact", "batch", 0.01)
    counted.figures.ended("sim", "exact", "batch", completed(), 0.4)
    labels = {"route": "sim", "tier": "exact", "class": "batch"}
    assert counted.value("tidegate_model_ttft_seconds_sum", **labels) == 0.01
    assert counted.value("tidegate_model_response_seconds_sum", **labels) == 0.4
    assert counted.value("tidegate_model_response_seconds_bucket", **labels, le="0.5") == 1.0


def test_what_came_to_no_answer_has_no_response_time(counted: Counted) -> None:
    """A provider that fails at once would make the platform look quick."""
    counted.figures.ended("sim", "miss", "interactive", Failed("R", "m", cost_nano_usd=5), 0.1)
    labels = {"route": "sim", "tier": "miss", "class": "interactive"}
    assert counted.value("tidegate_model_response_seconds_count", **labels) is None


@pytest.mark.parametrize(
    ("end", "cost", "unknown"),
    [
        (completed(63_000), 63e-6, None),
        (completed(63_000, lost=37_000), 100e-6, None),
        (completed(0), 0.0, None),
        (completed(None), None, 1.0),
        (completed(5, lost=None), None, 1.0),
        (Failed("R", "m", cost_nano_usd=0, lost_cost_nano_usd=2_000), 2e-6, None),
        (Cancelled("R", "m", cost_nano_usd=0), None, None),
        (Failed("R", "m", cost_nano_usd=None), None, 1.0),
    ],
)
def test_an_interaction_costs_all_that_was_paid_for_it(
    counted: Counted, end: Terminal, cost: float | None, unknown: float | None
) -> None:
    """What failed for nothing is none, and what is not known is not taken for nothing."""
    counted.figures.ended("sim", "miss", "interactive", end, 1.0)
    labels = {"route": "sim", "tier": "miss"}
    observed = counted.value("tidegate_interaction_cost_usd_sum", **labels)
    assert observed == (None if cost is None else pytest.approx(cost))
    assert counted.value("tidegate_interaction_cost_unknown_total", **labels) == unknown


def test_what_hits_saved_is_counted_and_a_model_saves_nothing(counted: Counted) -> None:
    figures = counted.figures
    figures.ended("sim", "semantic", "interactive", completed(saved=63_000), 1.0)
    figures.ended("sim", "semantic", "interactive", completed(saved=None), 1.0)
    figures.ended("sim", "miss", "interactive", completed(9, saved=0), 1.0)
    saved = "tidegate_saved_usd_total"
    assert counted.value(saved, tier="semantic") == pytest.approx(63e-6)
    assert counted.value("tidegate_saved_unknown_total", tier="semantic") == 1.0
    assert counted.value(saved, tier="miss") is None


def test_a_lookup_is_counted_by_what_came_of_it(counted: Counted) -> None:
    counted.figures.looked_up("hit", "coalesced")
    counted.figures.looked_up("timeout")
    name = "tidegate_worker_cache_lookups_total"
    assert counted.value(name, tier="coalesced", outcome="hit") == 1.0
    assert counted.value(name, tier="none", outcome="timeout") == 1.0


@pytest.mark.parametrize(("flags", "shown"), [(TraceFlags.SAMPLED, True), (0, False)])
def test_a_slow_answer_leads_to_its_trace_if_that_was_kept(
    counted: Counted, flags: int, shown: bool
) -> None:
    context = SpanContext(TRACE, 1, is_remote=False, trace_flags=TraceFlags(flags))
    with use_span(NonRecordingSpan(context)):
        counted.figures.first_token("sim", "miss", "batch", 7.0)
    encode, _ = choose_encoder("application/openmetrics-text")
    page = encode(counted.registry).decode()
    assert ('# {trace_id="0af7651916cd43dd8448eb211c80319c"} 7.0' in page) == shown


def test_a_queue_that_nobody_can_look_at_has_no_figures() -> None:
    """An old depth would say that all is well while nothing is known."""
    registry = CollectorRegistry()
    figures = QueueFigures(registry)
    figures.show("default", "batch", waiting=3, running=1, oldest_seconds=4.5)
    labels = {"queue": "default", "class": "batch"}
    assert registry.get_sample_value("tidegate_queue_oldest_seconds", labels) == 4.5
    figures.forget("default", "batch")
    figures.forget("default", "batch")
    assert registry.get_sample_value("tidegate_queue_depth", labels) is None
