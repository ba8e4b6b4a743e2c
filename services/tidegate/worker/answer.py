"""What an attempt has heard of its answer so far; the hot path of the worker."""

from collections.abc import Callable

from tidegate.contracts.events import Delta
from tidegate.contracts.spending import is_token


class AnswerMeter:
    """Passes deltas on and counts them. `clock` gives seconds; `on_first` hears of the first."""

    __slots__ = ("_clock", "_emit", "_on_first", "count", "first_at")

    def __init__(
        self,
        emit: Callable[[Delta], None],
        clock: Callable[[], float],
        *,
        on_first: Callable[[], None],
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._on_first = on_first
        self.count = 0
        self.first_at: float | None = None

    def take(self, delta: Delta) -> None:
        """One delta. Raises what the log raises."""
        self._emit(delta)
        if is_token(delta):
            self.count += 1
        if self.first_at is None:
            self.first_at = self._clock()
            self._on_first()
