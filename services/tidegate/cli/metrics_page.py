"""`tidegate metrics`: every metric, as a table of Markdown; it is the end of docs/metrics.md."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from tidegate.cache import metrics as cache
from tidegate.chassis.metrics import ChassisMetrics, declare_process
from tidegate.eventlog.metrics import EventLogMetrics
from tidegate.figures.metrics import Figures, QueueFigures
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.openai.metrics import EmbeddingsMetrics
from tidegate.providers.metrics import ProviderMetrics, RoutesMetrics
from tidegate.simulator.calls import CallLog
from tidegate.simulator.metrics import SimulatorMetrics
from tidegate.streaming.metrics import StreamingMetrics
from tidegate.worker.metrics import WorkerCacheMetrics, WorkerMetrics
from tidegate_operator.metrics import OperatorMetrics


def _declare_simulator(registry: CollectorRegistry) -> None:
    registry.register(SimulatorMetrics(CallLog(1, time.monotonic)))


# What each process declares beside the registry that all begin with.
PROCESSES: Final[dict[str, tuple[Callable[[CollectorRegistry], object], ...]]] = {
    "gateway": (
        ChassisMetrics,
        QueueFigures,
        GatewayMetrics,
        EmbeddingsMetrics,
        EventLogMetrics,
        ProviderMetrics,
        RoutesMetrics,
    ),
    "worker": (
        ChassisMetrics,
        Figures,
        WorkerMetrics,
        WorkerCacheMetrics,
        EventLogMetrics,
        ProviderMetrics,
        RoutesMetrics,
    ),
    "cache": (ChassisMetrics, cache.CacheMetrics, ProviderMetrics, RoutesMetrics),
    "streaming": (ChassisMetrics, StreamingMetrics, EventLogMetrics),
    "simulator": (_declare_simulator,),
    "operator": (ChassisMetrics, OperatorMetrics),
}
_OURS: Final = "tidegate_"


class Catalogue(CollectorRegistry):
    """A registry that can be asked for what was declared, whether or not anything was counted."""

    def __init__(self) -> None:
        super().__init__(auto_describe=True)
        self._collectors: list[Collector] = []

    @override
    def register(self, collector: Collector) -> None:
        """Declares a metric, or several."""
        super().register(collector)
        self._collectors.append(collector)

    def families(self) -> Iterator[tuple[Metric, tuple[str, ...]]]:
        """Each metric of ours, and the names of its labels."""
        for collector in self._collectors:
            for family in collector.collect():
                # The library tells label names of samples alone, and there may be none yet.
                declared: Any = getattr(collector, "_labelnames", None)
                labels = declared if declared is not None else getattr(family, "_labelnames", ())
                if family.name.startswith(_OURS):
                    yield family, tuple(labels)


def catalogue(process: str) -> Catalogue:
    """Everything that a process declares."""
    declared = Catalogue()
    declare_process(declared, process)
    for declare in PROCESSES[process]:
        declare(declared)
    return declared


def metrics_page() -> str:
    """The table: a line for each metric, whichever processes have it."""
    declared: dict[str, _Row] = {}
    for process in PROCESSES:
        for family, labels in catalogue(process).families():
            row = _Row(family.type, labels, family.documentation, [process])
            declared.setdefault(name_of(family), row).add(row)
    return _HEAD + "".join(f"| `{name}` {row} |\n" for name, row in sorted(declared.items()))


def name_of(family: Metric) -> str:
    """What it is called where it is queried: the library leaves the end off a counter's."""
    return f"{family.name}_total" if family.type == "counter" else family.name


_HEAD: Final = "| metric | type | labels | of | meaning |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    labels: tuple[str, ...]
    meaning: str
    processes: list[str]

    def add(self, other: Self) -> None:
        """The same in another process. Raises ValueError where it is not the same."""
        if (self.kind, self.labels, self.meaning) != (other.kind, other.labels, other.meaning):
            raise ValueError(f"two metrics of one name: {self.meaning} / {other.meaning}")
        if other is not self:
            self.processes.extend(other.processes)

    def __str__(self) -> str:
        labels = ", ".join(f"`{label}`" for label in self.labels)
        meaning = self.meaning.replace("|", "\\|")
        return f"| {self.kind} | {labels} | {', '.join(self.processes)} | {meaning}"
