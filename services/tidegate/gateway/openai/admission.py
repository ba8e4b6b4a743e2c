"""How many direct calls may run here at once: in all, and for one tenant."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tidegate.contracts.errors import Reason, ResourceExhausted

# Spread, so that those who were refused together do not come back together.
_RETRY_SECONDS: Final = (1.0, 5.0)


class Places:
    """Places for calls; who finds none is told to come back, for nothing waits here."""

    def __init__(self, *, max_per_tenant: int, max_in_all: int) -> None:
        self._max_per_tenant = max_per_tenant
        self._max_in_all = max_in_all
        self._taken = 0
        self._of_tenant: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self, tenant: str) -> Iterator[None]:
        """A place, for as long as the context lasts.

        Raises:
            ResourceExhausted: TOO_MANY_CALLS, of this tenant or of all.
        """
        if self._of_tenant[tenant] >= self._max_per_tenant:
            raise _too_many(f"{self._max_per_tenant} calls of this tenant run here already")
        if self._taken >= self._max_in_all:
            raise _too_many("as many calls run here as this gateway takes")
        self._taken += 1
        self._of_tenant[tenant] += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]


def _too_many(message: str) -> ResourceExhausted:
    return ResourceExhausted(
        message, reason=Reason.TOO_MANY_CALLS, retry_after=random.uniform(*_RETRY_SECONDS)
    )
