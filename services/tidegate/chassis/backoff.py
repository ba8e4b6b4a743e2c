"""Pauses between tries of one thing: longer with each, and never in step with another's."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

# 2 to the power of this times any sensible `low` is above any sensible `high`.
_MOST_DOUBLINGS: Final = 10


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: no pause is shorter than `low`, or longer than `high`."""

    low: float
    high: float

    def seconds(self, tries: int) -> float:
        """The next pause, after so many tries that failed before the last one."""
        most = self.low * 2 ** min(tries, _MOST_DOUBLINGS)
        return random.uniform(self.low, min(self.high, most))

    async def pause(self, tries: int) -> None:
        """Waits for as long."""
        await asyncio.sleep(self.seconds(tries))
