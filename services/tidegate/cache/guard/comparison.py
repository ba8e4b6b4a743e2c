"""The door of the guard: two questions in, what speaks against one answer for both out."""

from dataclasses import dataclass
from typing import Final

from tidegate.cache.guard.objections import Objection
from tidegate.cache.guard.pairs import pair
from tidegate.cache.guard.reading import read
from tidegate.cache.guard.rules import objections

# Rules that may only have missed that both say the same in other words.
_UNSURE: Final = frozenset({"words", "aspect", "negation"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rules that fired; none of them says that the questions mean the same."""

    objections: tuple[Objection, ...]

    @property
    def grave(self) -> bool:
        """Whether anything stands against one answer, however near the questions are."""
        return any(objection.grave for objection in self.objections)

    @property
    def certain(self) -> bool:
        """Whether a rule saw for certain that they are two questions, a number say or a name."""
        return any(objection.rule not in _UNSURE for objection in self.objections)

    @property
    def accounted(self) -> bool:
        """Whether every word of either question has its counterpart in the other."""
        return not self.objections


def compare(one: str, other: str) -> Comparison:
    """Compares two questions, in whichever order they are given; any text may be given."""
    first, second = sorted((one, other))
    return Comparison(tuple(objections(pair(read(first), read(second)))))
