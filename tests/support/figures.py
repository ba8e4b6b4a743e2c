"""Snapshots of workers that did this and that, made as workers make them."""

from prometheus_client import CollectorRegistry

from tidegate.contracts.events import CacheTier, Completed, Terminal, Timings, Usage
from tidegate.figures.metrics import Figures
from tidegate.figures.snapshot import Snapshot
from tidegate.figures.telling import snapshot_of


def completed(cost: int | None = 0, *, lost: int | None = 0, saved: int | None = 0) -> Completed:
    """An end; money is in nano-USD."""
    return Completed(
        ["stop"],
        Usage(1, 0, 2),
        Timings(1, 2, 3),
        cost,
        lost_cost_nano_usd=lost,
        saved_nano_usd=saved,
    )


class Worker:
    """What a worker counts; `tell` is its snapshot."""

    def __init__(self, process: str = "a", *, host: str = "host", started_at: float = 0.0) -> None:
        self.figures = Figures(CollectorRegistry())
        self._process = process
        self._host = host
        self._started_at = started_at

    def answer(
        self,
        seconds: float = 1.0,
        *,
        ttft: float = 0.2,
        route: str = "sim-small",
        tier: CacheTier = "miss",
        job_class: str = "interactive",
        end: Terminal | None = None,
    ) -> None:
        """One job, from its first token to its end."""
        self.figures.first_token(route, tier, job_class, ttft)
        self.figures.ended(route, tier, job_class, end or completed(), seconds)

    def tell(self, at: float = 60.0) -> Snapshot:
        """What it counted so far."""
        return snapshot_of(self.figures, self._process, self._host, self._started_at, at)


def snapshot(process: str, *, started_at: float = 0.0, answers: int = 0) -> Snapshot:
    """A worker that has answered so often."""
    worker = Worker(process, started_at=started_at)
    for _ in range(answers):
        worker.answer()
    return worker.tell()
