"""What a search found, as entries: one that cannot be read must not cost the others."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog

from tidegate.cache.entries import Scored, StoreError
from tidegate.cache.stores.payload import entry_of

_log = structlog.stdlib.get_logger(module=__name__)

_QUIET_SECONDS: Final = 60.0


class Reading:
    """Reads entries, and passes over those that cannot be read: a later release wrote them.

    It warns of them at most once a minute, with how often it happened since. `clock`: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")
        self._passed_over = 0

    def scored(self, found: Iterable[tuple[str, float, Mapping[str, Any]]]) -> list[Scored]:
        """The entries of ids, scores and payloads, in their order."""
        near = []
        for entry_id, score, payload in found:
            try:
                near.append(Scored(entry_of(entry_id, payload), score))
            except StoreError as error:
                self._pass_over(str(error))
        return near

    def _pass_over(self, reason: str) -> None:
        self._passed_over += 1
        if self._clock() < self._quiet_until:
            return
        _log.warning(
            "stored entries cannot be read, and searches pass them over",
            times=self._passed_over,
            reason=reason,
        )
        self._quiet_until, self._passed_over = self._clock() + _QUIET_SECONDS, 0
