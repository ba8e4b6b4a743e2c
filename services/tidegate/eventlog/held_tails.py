"""The tails that a reader holds: which to verify, which to forget. No I/O."""

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.eventlog.tail import Live, Tail

# Thousands of jobs that wait in a queue are looked at in turn, not in one burst.
_VERIFIED_AT_ONCE: Final = 200


@dataclass(slots=True)
class Held:
    """A tail and the state of its reading. `early` holds live messages that wait for a replay.

    `missing` where there is known to be no such job, `detached` where it is known to go on without
    readers.
    """

    tail: Tail
    touched: float
    early: list[Live] = field(default_factory=list)
    repair: asyncio.Task[None] | None = None
    corrupt: bool = False
    missing: bool = False
    detached: bool = False

    @property
    def abandoned(self) -> bool:
        """Whether there may be a job here that is to be ended because nobody reads it."""
        ended = self.missing or self.detached or self.tail.closed
        return not ended and not self.tail.listeners


def silent(held: Iterable[Held], since: float) -> list[Held]:
    """Those to verify now, the ones that were silent longest first."""
    waiting = (
        each
        for each in held
        if each.touched <= since and each.tail.listeners and not each.tail.closed
    )
    return heapq.nsmallest(_VERIFIED_AT_ONCE, waiting, key=lambda each: each.touched)


def forgettable(held: Mapping[str, Held], before: float, max_bytes: int) -> Iterator[str]:
    """The keys of those without a listener to forget now.

    That is, of those last touched by `before`, and of the oldest others while they are more than
    `max_bytes` together.
    """
    unread = [
        (each.touched, key)
        for key, each in held.items()
        if not each.tail.listeners and each.repair is None
    ]
    size = sum(held[key].tail.bytes for _, key in unread)
    for touched, key in sorted(unread):
        if touched <= before or size > max_bytes:
            size -= held[key].tail.bytes
            yield key
