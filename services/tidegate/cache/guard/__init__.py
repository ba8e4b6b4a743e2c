"""The guard: what two questions differ in that an embedding does not see.

What belongs here: reading a question (its words, quantities, names, what kind of answer it wants)
and the rules that compare two readings. All of it is pure, explains itself (which rule, and what
it saw), and stands on general lists of English words under `words/`, never on a set of test
questions.

What does not: vectors, thresholds and stores. The guard never says that two questions mean the
same; it says what speaks against it, and whether it could account for every word.

`text` cuts questions up, `quantities` reads numbers, `lexicon` knows the words, `frames` what is
wanted, `reading` puts that together; `pairs` match two readings, `rules` and `order` say what is
left; `compare` is the one door.
"""

from tidegate.cache.guard.comparison import Comparison, compare
from tidegate.cache.guard.objections import Objection

__all__ = ["Comparison", "Objection", "compare"]
