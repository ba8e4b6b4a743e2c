"""What can go wrong in a bed.

BedError
├── Unavailable     this machine lacks something: a test is skipped, with this one line
│   └── BuildFailed a program or an image could not be built
├── StartFailed     a program ended, or was not ready in time; its last lines are in the message
└── CommandError   kubectl, helm or the like ended with an error: `status` and `stderr`
"""

from collections.abc import Sequence


class BedError(Exception):
    """All of them."""


class Unavailable(BedError):
    """Something is missing that a bed cannot do without. The message says how to get it."""


class BuildFailed(Unavailable):
    """A program or an image could not be made here. The message ends in what the tool said."""


class StartFailed(BedError):
    """A program of the bed's ended, or was not ready in time."""


class CommandError(BedError):
    """A command ended with an error, or took too long (`status` is None then)."""

    def __init__(self, command: Sequence[str], status: int | None, stderr: str) -> None:
        self.command = list(command)
        self.status = status
        self.stderr = stderr
        how = "took too long" if status is None else f"ended with {status}"
        super().__init__(f"`{' '.join(command)}` {how}:\n{stderr.strip()}")
