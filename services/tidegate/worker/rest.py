"""Not asking again and again who does not answer: pure, times by any clock in seconds."""

from typing import Final

# Failures in a row until it is taken for gone, and how long it is then left alone.
_FAILURES: Final = 5
_REST_SECONDS: Final = 1.0


class Rest:
    """After a few failures in a row there is a rest; after it, one more failure is enough."""

    def __init__(self, *, failures: int = _FAILURES, seconds: float = _REST_SECONDS) -> None:
        self._failures = failures
        self._seconds = seconds
        self._in_a_row = 0
        self._until = float("-inf")

    def lasts(self, now: float) -> bool:
        """Whether nothing is to be tried now."""
        return now < self._until

    def failed(self, now: float) -> None:
        """A try has failed."""
        self._in_a_row += 1
        if self._in_a_row >= self._failures:
            self._until = now + self._seconds

    def succeeded(self) -> None:
        """A try was answered."""
        self._in_a_row = 0
        self._until = float("-inf")
