"""Lines on standard error that say what takes so long, with the time since the start."""

import sys
import time
from collections.abc import Callable

Say = Callable[[str], None]


def progress() -> Say:
    """A new clock, and the function that prints lines by it."""
    began = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"[{minutes}:{seconds:02}] {line}", file=sys.stderr, flush=True)

    return say


def last_lines(text: str, count: int = 8) -> str:
    """The end of a log, for a message."""
    return "\n".join(text.strip().splitlines()[-count:])
