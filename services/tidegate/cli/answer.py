"""An answer on its way to a person or a pipe: its text when an attempt starts over, and its end.

Pure. What was written cannot be taken back, so a new attempt's text is held while it repeats what
was printed; only where it says something else is the whole of it printed anew.
"""

import math
from typing import Any


class AnswerPrinter:
    """Turns an attempt's deltas into what is still to be printed."""

    def __init__(self) -> None:
        self._printed = ""
        self._text = ""
        self.restarted = False

    def begin_attempt(self) -> None:
        """A new attempt drops the text so far."""
        self._text = ""

    def add(self, data: str) -> str:
        """What to print for a delta, maybe nothing.

        `restarted` is true after a call whose text begins the answer anew, because it disagrees
        with what was printed.
        """
        before, self._text = self._text, self._text + data
        self.restarted = False
        if before == self._printed:
            self._printed = self._text
            return data
        if self._printed.startswith(self._text):
            return ""
        if self._text.startswith(self._printed):
            fresh = self._text[len(self._printed) :]
        else:
            self.restarted, fresh = True, self._text
        self._printed = self._text
        return fresh


def error_line(event: dict[str, Any]) -> str:
    """Why a job did not complete, from its terminal event, and when to ask again if it is told."""
    line = f"{event['type']}: {event['message']} ({event['reason']})"
    wait_ms = event.get("retry_after_ms")
    return line if wait_ms is None else f"{line}, try again in {math.ceil(wait_ms / 1000)} s"


def figures(begun: dict[str, Any], ended: dict[str, Any]) -> str:
    """What a job took, from its terminal event and its last `attempt_started` (empty: none seen).

    As in `tokens=42 cost=$0.000063 cache=miss`.
    """
    tokens = f"tokens={ended['usage']['output_tokens']}"
    return " ".join(filter(None, (tokens, cost_words(ended), cache_words(begun, ended))))


def cost_words(event: dict[str, Any]) -> str:
    """What a job cost, from its terminal event, and what attempts before the last one cost."""
    nano_usd = event.get("cost_nano_usd")
    words = f"cost={'unknown' if nano_usd is None else _dollars(nano_usd)}"
    lost = event.get("lost_cost_nano_usd")
    return f"{words} lost={_dollars(lost)}" if lost else words


def cache_words(begun: dict[str, Any], ended: dict[str, Any]) -> str:
    """Where an answer came from, and what a hit saved; empty where no attempt was seen to begin."""
    if not begun:
        return ""
    tier = (begun.get("cache") or {}).get("tier", "miss")
    saved = ended.get("saved_nano_usd")
    words = f"cache={tier}"
    return words if tier == "miss" or saved is None else f"{words} saved={_dollars(saved)}"


def _dollars(nano_usd: int) -> str:
    return f"${nano_usd / 1e9:.6f}"
