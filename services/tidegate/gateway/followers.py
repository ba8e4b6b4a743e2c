"""The event streams that are open here: bounded, and ended together when the process drains."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tidegate.contracts.errors import Reason, ResourceExhausted, Unavailable

# Spread, so that those who were refused together do not come back together.
_RETRY_SECONDS: Final = (1.0, 10.0)


class Followers:
    """Streams in all and per tenant, each bounded."""

    def __init__(self, *, max_per_tenant: int, max_in_all: int) -> None:
        self._max_per_tenant = max_per_tenant
        self._max_in_all = max_in_all
        self._wakes: set[asyncio.Event] = set()
        self._of_tenant: Counter[str] = Counter()
        self._draining = False

    @contextlib.contextmanager
    def one_more(self, tenant: str) -> Iterator[asyncio.Event]:
        """A place for a stream, with the event that a drain sets.

        Raises:
            ResourceExhausted: TOO_MANY_STREAMS, of this tenant or of all.
        """
        self._require_room(tenant)
        wake = asyncio.Event()
        self._wakes.add(wake)
        self._of_tenant[tenant] += 1
        try:
            yield wake
        finally:
            self._wakes.discard(wake)
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]

    def drain(self) -> None:
        """Ends every stream that has nothing more to send, so that clients go elsewhere."""
        self._draining = True
        for wake in self._wakes:
            wake.set()

    def check_draining(self) -> None:
        """Raises Unavailable (DRAINING) once `drain` was called."""
        if self._draining:
            raise Unavailable(
                "this gateway is shutting down; resume after the last sequence",
                reason=Reason.DRAINING,
                retry_after=1.0,
            )

    def _require_room(self, tenant: str) -> None:
        if self._of_tenant[tenant] >= self._max_per_tenant:
            raise _too_many(f"this tenant has {self._max_per_tenant} streams open here already")
        if len(self._wakes) >= self._max_in_all:
            raise _too_many("this gateway has as many streams open as it takes")


def _too_many(message: str) -> ResourceExhausted:
    return ResourceExhausted(
        message, reason=Reason.TOO_MANY_STREAMS, retry_after=random.uniform(*_RETRY_SECONDS)
    )
