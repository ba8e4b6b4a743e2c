"""An answer on its way to a pipe: what to print when an attempt starts over.

Pure. What was written cannot be taken back, so a new attempt's text is held while it repeats what
was printed; only where it says something else is the whole of it printed anew.
"""


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
