"""What came since the last look, of processes that begin and end meanwhile. Pure."""

from collections.abc import Iterable

from tidegate.figures.snapshot import Snapshot


class Interval:
    """Takes the fleet's snapshots one look after another; times are epoch seconds.

    Processes are told apart by their lives, so that one that was started again begins anew. What
    one did that gave no answer in time is new at the look where it does again.
    """

    def __init__(self) -> None:
        self._known: dict[str, Snapshot] = {}
        self._first_at: float | None = None
        self._last_at: float | None = None
        # Seconds from the look before to the last one; None at the first.
        self.seconds: float | None = None

    def look(self, snapshots: Iterable[Snapshot], at: float) -> list[Snapshot]:
        """What is new in the snapshots that were taken at `at`; nothing at the first look."""
        news = [new for each in snapshots if (new := self._news_of(each)) is not None]
        self.seconds = None if self._last_at is None else max(at - self._last_at, 0.0)
        self._last_at = at
        self._first_at = at if self._first_at is None else self._first_at
        return news

    def _news_of(self, now: Snapshot) -> Snapshot | None:
        before = self._known.get(now.process)
        self._known[now.process] = now
        if before is not None:
            return now.since(before)
        # What it counted before anybody looked is old; that it was missed until now is rare.
        began_since = self._first_at is not None and now.started_at >= self._first_at
        return now if began_since else None
