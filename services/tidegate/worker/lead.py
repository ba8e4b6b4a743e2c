"""What there is to a call beside its own job: others may follow it, and its answer may be kept."""

from collections.abc import Callable
from typing import Final

from tidegate.contracts.events import CacheMark, Delta
from tidegate.providers.routes import Target
from tidegate.worker.answer import WholeText
from tidegate.worker.cache_client import MOST_BYTES, Missed
from tidegate.worker.flights import Flight, Flights

_MISS: Final = CacheMark("miss")


class Lead:
    """A job's calls after `missed` (None: the cache was not asked, or could not say).

    They lead a `flight`, or nobody. The newest of them is the one whose answer may be kept.
    """

    def __init__(
        self,
        missed: Missed | None = None,
        *,
        flight: Flight | None = None,
        flights: Flights | None = None,
    ) -> None:
        self.missed = missed
        self.target: Target | None = None
        self._flight = flight
        self._flights = flights
        self._text: WholeText | None = None

    @property
    def mark(self) -> CacheMark | None:
        """What the log says of the cache."""
        return _MISS if self.missed is not None and self.missed.key else None

    @property
    def stands(self) -> bool:
        """Whether nobody else can have begun to lead: so it is, too, where there is no flight."""
        if self._flight is None or self._flights is None:
            return True
        return self._flights.holds(self._flight)

    @property
    def text(self) -> str | None:
        """The newest call's answer so far; None where it is none to be kept."""
        return None if self._text is None else self._text.text

    def begin(self, target: Target) -> Callable[[Delta], None] | None:
        """A call begins; what is to hear its answer, if anything."""
        self.target = target
        self._text = None if self.missed is None else WholeText(MOST_BYTES)
        return None if self._text is None else self._text.take

    def give_up(self) -> None:
        """Lets another lead."""
        if self._flight is not None and self._flights is not None:
            self._flights.release(self._flight)
