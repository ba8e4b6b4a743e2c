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


class Place:
    """A stream's place. `wake` is set when it is to look at `check`, which may end it.

    A `resumable` one ends as soon as the process drains, for its client goes on elsewhere; another
    is let come to its end.
    """

    def __init__(self, *, resumable: bool) -> None:
        self.wake = asyncio.Event()
        self.resumable = resumable
        self._ended = False

    def end(self) -> None:
        """Ends the stream once it has nothing more to send."""
        self._ended = True
        self.wake.set()

    def check(self) -> None:
        """Raises Unavailable (DRAINING) once the stream is to end."""
        if self._ended:
            raise _draining()


class Followers:
    """Streams in all and per tenant, each bounded."""

    def __init__(self, *, max_per_tenant: int, max_in_all: int) -> None:
        self._max_per_tenant = max_per_tenant
        self._max_in_all = max_in_all
        self._places: set[Place] = set()
        self._of_tenant: Counter[str] = Counter()
        self._draining = False
        self._left = asyncio.Event()

    @contextlib.contextmanager
    def one_more(self, tenant: str, *, resumable: bool = True) -> Iterator[Place]:
        """A place for a stream.

        Raises:
            ResourceExhausted: TOO_MANY_STREAMS, of this tenant or of all.
            Unavailable: DRAINING, of one that is not resumable.
        """
        self.check_room(tenant, resumable=resumable)
        place = Place(resumable=resumable)
        if self._draining:
            place.end()
        self._places.add(place)
        self._of_tenant[tenant] += 1
        try:
            yield place
        finally:
            self._places.discard(place)
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]
            self._left.set()

    async def drain(self, seconds: float) -> None:
        """Ends every stream that has nothing more to send, so that clients go elsewhere.

        Those that cannot be resumed have so many `seconds` to come to their end by themselves.
        """
        self._draining = True
        for place in self._places:
            if place.resumable:
                place.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(place.resumable for place in self._places):
                    self._left.clear()
                    await self._left.wait()
        for place in self._places:
            place.end()

    def check_room(self, tenant: str, *, resumable: bool = True) -> None:
        """Returns where there is a place for a stream, or raises as `one_more`."""
        if self._draining and not resumable:
            raise _draining()
        if self._of_tenant[tenant] >= self._max_per_tenant:
            raise _too_many(f"this tenant has {self._max_per_tenant} streams open here already")
        if len(self._places) >= self._max_in_all:
            raise _too_many("this gateway has as many streams open as it takes")


def _draining() -> Unavailable:
    return Unavailable(
        "this gateway is shutting down; resume after the last sequence",
        reason=Reason.DRAINING,
        retry_after=1.0,
    )


def _too_many(message: str) -> ResourceExhausted:
    return ResourceExhausted(
        message, reason=Reason.TOO_MANY_STREAMS, retry_after=random.uniform(*_RETRY_SECONDS)
    )
