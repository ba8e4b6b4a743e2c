"""What a rule says when it fires."""

from collections.abc import Iterable
from typing import NamedTuple


class Objection(NamedTuple):
    """A rule that fired: its name, and what it saw in either question.

    A grave one stands whatever the similarity; any other says only that a word of one question has
    no counterpart in the other.
    """

    rule: str
    saw: str
    grave: bool = True

    def __str__(self) -> str:
        return f"{self.rule}: {self.saw}"


def versus(ours: Iterable[str], theirs: Iterable[str]) -> str:
    """What either side has alone, for a person's eyes."""
    return f"{', '.join(ours) or 'nothing'} / {', '.join(theirs) or 'nothing'}"
