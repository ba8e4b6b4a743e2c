"""What a follower makes of its leader's log, and how long it waits with it: pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.contracts.events import (
    AttemptStarted,
    Cancelled,
    Completed,
    Delta,
    Expired,
    Failed,
    Terminal,
    Waiting,
    decode_event,
)
from tidegate.contracts.spending import HANDED_BACK, add_cost
from tidegate.eventlog.tail import Entry
from tidegate.worker.answer import Answered


@dataclass(slots=True)
class News:
    """What a stretch of a log brings, as far as it still counts at the end of the stretch.

    `restarted`: the text before it counts no more. `waiting` is what the log waits for at the end.
    """

    restarted: bool = False
    deltas: list[Delta] = field(default_factory=list)
    waiting: Waiting | None = None
    end: Terminal | None = None

    @property
    def handed_back(self) -> bool:
        """Whether the leader's worker has let go of it."""
        return self.waiting is not None and self.waiting.reason == HANDED_BACK


def news_of(entries: Iterable[Entry]) -> News:
    """The news of consecutive entries.

    Raises:
        CorruptLogError: one of them is no event.
    """
    news = News()
    for entry in entries:
        event = decode_event(entry.raw)
        if isinstance(event, Delta):
            news.deltas.append(event)
            news.waiting = None
        elif isinstance(event, AttemptStarted):
            news.waiting = None
            if not event.continues:
                news.restarted = True
                news.deltas.clear()
        elif isinstance(event, Waiting):
            news.waiting = event
        elif event is not None:
            news.end = event
    return news


def answer_of(end: Completed) -> Answered:
    """What a follower's job ends with when its leader is through.

    What it saved is what the leader's answer cost, wherever that had it from.
    """
    return Answered(end.finish_reasons, add_cost(end.cost_nano_usd, end.saved_nano_usd))


class LeaderFailedError(Exception):
    """The leader failed in a way in which its followers would too."""

    def __init__(self, end: Failed) -> None:
        super().__init__(end.reason)
        self.end = end


class Leaders:
    """The leaders that one follower has had, and its patience with them.

    `max_wait` is seconds that it waits together, beside the time in which somebody works on its
    answer; None: for as long as its deadline allows. `most_failures`: when so many leaders have
    failed, it is no use to be the next.
    """

    def __init__(self, max_wait: float | None, *, most_failures: int = 2) -> None:
        self._max_wait = max_wait
        self._failures_left = most_failures
        self._waited = 0.0
        self._since: float | None = None

    @property
    def patience_left(self) -> float | None:
        """Seconds that may still be waited; None: any time."""
        return None if self._max_wait is None else max(self._max_wait - self._waited, 0.0)

    def may_wait(self, now: float, until: float) -> bool:
        """The leader waits from now on, by its own word until then (epoch, seconds)."""
        self.moved(now)
        self._since = now
        return self.patience_left is None or until - now <= self.patience_left

    def moved(self, now: float) -> None:
        """The leader goes on, if it waited."""
        if self._since is not None:
            self._waited += max(now - self._since, 0.0)
            self._since = None

    def ended(self, end: Failed | Cancelled | Expired) -> None:
        """The leader has ended without an answer; returns where another may still have one.

        Raises:
            LeaderFailedError: nobody will.
        """
        if not isinstance(end, Failed):
            return  # Its caller's doing, or its time was shorter than ours.
        self._failures_left -= 1
        if not end.retriable or self._failures_left <= 0:
            raise LeaderFailedError(end)
