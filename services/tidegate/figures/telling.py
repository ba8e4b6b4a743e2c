"""How a process tells its figures to whoever asks."""

import contextlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import Counter, Histogram
from prometheus_client.samples import Sample

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.subjects import FIGURES_ASK_ALL, figures_answer_subject
from tidegate.figures.metrics import Figures
from tidegate.figures.snapshot import Family, Series, Snapshot, encode_snapshot

_LE = "le"


class FiguresTold:
    """A component that answers each question with a snapshot. `clock` gives epoch seconds."""

    name = "figures"

    def __init__(
        self, figures: Figures, nats: NatsConnection, *, host: str, clock: Callable[[], float]
    ) -> None:
        self._figures = figures
        self._nats = nats
        self._host = host
        self._clock = clock
        self._process = secrets.token_hex(8)
        self._started_at = clock()

    async def start(self) -> None:
        """Listen for questions."""
        await self._nats.client.subscribe(FIGURES_ASK_ALL, cb=self._answer)

    async def stop(self, deadline: Deadline) -> None:
        """Answers as long as there is a connection: what a drain still does counts."""
        del deadline

    async def _answer(self, question: "_Question") -> None:
        with contextlib.suppress(Unavailable):  # Nobody is there to hear it.
            now = self._clock()
            told = snapshot_of(self._figures, self._process, self._host, self._started_at, now)
            payload = encode_snapshot(told)
            await self._nats.publish(figures_answer_subject(question.subject), payload)


class _Question(Protocol):
    @property
    def subject(self) -> str: ...


def snapshot_of(
    figures: Figures, process: str, host: str, started_at: float, at: float
) -> Snapshot:
    """The figures of a process as they stand at `at`."""
    return Snapshot(
        process=process,
        host=host,
        started_at=started_at,
        at=at,
        ttft=family_of(figures.ttft_seconds),
        response=family_of(figures.response_seconds),
        lookups=family_of(figures.lookups),
        cost=family_of(figures.cost_usd),
        cost_unknown=family_of(figures.cost_unknown),
        saved=family_of(figures.saved_usd),
        saved_unknown=family_of(figures.saved_unknown),
    )


def family_of(metric: Counter | Histogram) -> Family:
    """A metric with labels as it stands."""
    series: dict[tuple[tuple[str, str], ...], list[Sample]] = defaultdict(list)
    for family in metric.collect():
        for sample in family.samples:
            labels = tuple((name, value) for name, value in sample.labels.items() if name != _LE)
            series[labels].append(sample)
    if not series:
        return Family()
    first, samples = next(iter(series.items()))
    return Family(
        labels=tuple(name for name, _ in first),
        bounds=tuple(float(each.labels[_LE]) for each in _buckets(samples))[:-1],
        series=tuple(_series(labels, samples) for labels, samples in series.items()),
    )


def _buckets(samples: Iterable[Sample]) -> list[Sample]:
    return [sample for sample in samples if _LE in sample.labels]


def _series(labels: tuple[tuple[str, str], ...], samples: list[Sample]) -> Series:
    reached = [int(sample.value) for sample in _buckets(samples)]
    counts = tuple(now - before for before, now in zip((0, *reached), reached, strict=False))
    (total,) = (sample.value for sample in samples if sample.name.endswith(("_sum", "_total")))
    return Series(tuple(value for _, value in labels), total, counts)
