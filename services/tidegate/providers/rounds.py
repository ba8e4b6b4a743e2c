"""Which target is called next: pure, times in seconds of the epoch.

A round calls each target at most once, in order, as long as one fails; then the next round begins.
A target that failed for good is left out from then on; one that asked for time, or whose breaker is
open, is passed over until its time has come.
"""

from collections.abc import Sequence

from tidegate.contracts.errors import Reason
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.routes import Target

_Key = tuple[str, str]


class Rounds:
    """The calls of one run, at most `calls_left`. Targets must differ in their keys.

    `error` is what the last one ended in; one that may pass counts more than one that will not.
    """

    def __init__(self, targets: Sequence[Target], calls_left: int) -> None:
        self._targets = {target.key: target for target in targets}
        self._calls_left = calls_left
        self._seen: set[_Key] = set()
        self._not_before: dict[_Key, float] = {}
        self._closed_until: dict[_Key, float] = {}
        self.error: ProviderError | None = None

    @property
    def remaining(self) -> tuple[Target, ...]:
        """The targets that have not failed for good; none when the calls are used up."""
        return tuple(self._targets.values()) if self._calls_left > 0 else ()

    @property
    def only_breakers(self) -> bool:
        """Whether nothing but open breakers is in the way of every target that remains."""
        return all(key in self._closed_until for key in self._targets)

    def begin(self) -> None:
        """A new round."""
        self._seen.clear()
        self._closed_until.clear()

    def next(self, now: float) -> Target | None:
        """The next of this round; None when the round is over."""
        for target in self.remaining:
            if target.key not in self._seen and self._not_before.get(target.key, now) <= now:
                return target
        return None

    def refused(self, target: Target, until: float) -> None:
        """The target's breaker is open: no call was made."""
        self._seen.add(target.key)
        self._closed_until[target.key] = until

    def failed(self, target: Target, error: ProviderError, now: float) -> None:
        """A call was made and failed."""
        if self.error is None or error.retriable or not self.error.retriable:
            self.error = error
        self._calls_left -= error.counts
        self._seen.add(target.key)
        if error.kind is ErrorKind.TARGET:
            del self._targets[target.key]
        elif error.retry_after is not None:
            self._not_before[target.key] = now + error.retry_after

    def ready_at(self, now: float) -> float | None:
        """When the first of those that remain may be called; None when none remains."""
        if not self.remaining:
            return None
        return min(
            max(self._not_before.get(key, now), self._closed_until.get(key, now), now)
            for key in self._targets
        )

    def verdict(self, now: float) -> ProviderError:
        """What the run ends in."""
        at, error = self.ready_at(now), self.error
        if error is None or (at is not None and not error.retriable):
            message = "the model's providers are failing, and are given time to recover"
            return ProviderError(Reason.CIRCUIT_OPEN, message, retry_after=at and at - now)
        if at is not None and at > now:
            error.retry_after = max(at - now, error.retry_after or 0.0)
        return error
