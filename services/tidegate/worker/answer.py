"""What an attempt has heard of its answer so far; the hot path of the worker."""

from collections.abc import Callable

from tidegate.contracts.events import Delta, Usage


class AnswerMeter:
    """Passes deltas on and counts them. `clock` gives seconds."""

    __slots__ = ("_clock", "_emit", "count", "first_at")

    def __init__(self, emit: Callable[[Delta], None], clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self.count = 0
        self.first_at: float | None = None

    def take(self, delta: Delta) -> None:
        """One delta. Raises what the log raises."""
        self._emit(delta)
        if delta.kind != "logprobs":
            self.count += 1
        if self.first_at is None:
            self.first_at = self._clock()

    def usage(self, told: Usage | None = None) -> Usage:
        """What the provider told, or else an estimate: a delta for a token, the input unknown."""
        return told or Usage(output_tokens=self.count, estimated=True)
