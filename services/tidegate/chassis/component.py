"""What a part of a process looks like to the lifecycle."""

import asyncio
from typing import Protocol


class Deadline:
    """A moment on the event loop's clock by which something must have ended."""

    def __init__(self, seconds: float) -> None:
        self._at = asyncio.get_running_loop().time() + seconds

    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(self._at - asyncio.get_running_loop().time(), 0.0)


class Component(Protocol):
    """A part of a process with a beginning and an end."""

    @property
    def name(self) -> str:
        """What logs and faults call it."""

    async def start(self) -> None:
        """Return when it works; it may wait for others as long as it has to, and is cancellable.

        Raises ServiceFault where waiting is of no use.
        """

    async def stop(self, deadline: Deadline) -> None:
        """Finish or hand back what is under way, then close; cancelled when the deadline passes.

        Called also when `start` was cancelled or failed half-way.
        """
