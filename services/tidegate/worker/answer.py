"""What an attempt has heard of its answer so far; the hot path of the worker."""

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.contracts.events import Delta
from tidegate.contracts.spending import is_token


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer is in the log. `saved_nano_usd` is what a model was not paid for it.

    None: it is not known how much that is.
    """

    finish_reasons: list[str]
    saved_nano_usd: int | None = 0


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


class WholeText:
    """Gathers the text of an answer that is to be kept, up to `most_bytes` (UTF-8).

    Reasoning is passed over. Anything else makes it an answer that is not kept.
    """

    __slots__ = ("_left", "_parts")

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._parts: list[str] | None = []

    @property
    def text(self) -> str | None:
        """All of it; None where it is not to be kept."""
        return None if self._parts is None else "".join(self._parts)

    def take(self, delta: Delta) -> None:
        """One delta of the answer."""
        if self._parts is None or delta.kind == "reasoning":
            return
        self._left -= len(delta.data.encode())
        if delta.kind != "text" or delta.choice or self._left < 0:
            self._parts = None
        else:
            self._parts.append(delta.data)
