"""Jobs whose answers are not to be kept any more, remembered for a while.

A worker stores an answer after its job has ended. Who deletes that job in the very moment must not
find the answer in the cache afterwards.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

SECONDS: Final = 600.0
MOST: Final = 100_000


class Forgotten:
    """Remembers at most `most` jobs, each for `seconds`; `clock` is any that never goes back."""

    def __init__(
        self, clock: Callable[[], float], *, seconds: float = SECONDS, most: int = MOST
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add(self, tenant: str, job_id: str) -> None:
        """The job's answer is to be forgotten."""
        key = (tenant, job_id)
        self._until[key] = self._clock() + self._seconds
        self._until.move_to_end(key)
        while len(self._until) > self._most or self._is_over(next(iter(self._until))):
            self._until.popitem(last=False)

    def __contains__(self, job: tuple[str, str]) -> bool:
        return job in self._until and not self._is_over(job)

    def _is_over(self, job: tuple[str, str]) -> bool:
        return self._until[job] <= self._clock()
