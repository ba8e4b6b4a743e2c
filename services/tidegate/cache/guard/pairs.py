"""Two readings side by side: which words of one stand for which of the other, and what is left."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tidegate.cache.guard.reading import Reading, Term, same, without_prefix

# With more words apart two questions are two, and looking for synonyms would take long.
_MOST_APART: Final = 24


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readings, their terms matched: `left` and `right` are what has no counterpart.

    `denials` of the matched ones are a word and the same with a prefix that denies it.
    """

    one: Reading
    other: Reading
    matched: tuple[tuple[Term, Term], ...]
    left: tuple[Term, ...]
    right: tuple[Term, ...]
    denials: int


def pair(one: Reading, other: Reading) -> Pair:
    """Matches the terms of two readings: equal ones, then synonyms, then the words of phrases."""
    matched: list[tuple[Term, Term]] = []
    left, right = list(one.terms), list(other.terms)
    _match(_equal, left, right, matched)
    if max(len(left), len(right)) > _MOST_APART:
        return Pair(one, other, tuple(matched), tuple(left), tuple(right), 0)
    _match(same, left, right, matched)
    left, right = _in_parts(one, left), _in_parts(other, right)
    _match(_equal, left, right, matched)
    _match(same, left, right, matched)
    before = len(matched)
    _match(_is_denial, left, right, matched)
    _match(_is_denied, left, right, matched)
    denials = len(matched) - before
    seen = [term for both in matched for term in both]
    return Pair(one, other, tuple(matched), _fresh(left, seen), _fresh(right, seen), denials)


def _match(
    is_same: Callable[[Term, Term], bool],
    left: list[Term],
    right: list[Term],
    matched: list[tuple[Term, Term]],
) -> None:
    for term in tuple(left):
        found = next((each for each in right if is_same(term, each)), None)
        if found is not None:
            matched.append((term, found))
            left.remove(term)
            right.remove(found)


def _in_parts(reading: Reading, terms: list[Term]) -> list[Term]:
    return [part for term in terms for part in reading.parts.get(term.start, (term,))]


def _equal(one: Term, other: Term) -> bool:
    return one.phrase == other.phrase


def _fresh(rest: Iterable[Term], seen: list[Term]) -> tuple[Term, ...]:
    """What is left, less what only repeats a word that has its counterpart."""
    return tuple(term for term in rest if not any(_equal(term, each) for each in seen))


def _is_denial(one: Term, other: Term) -> bool:
    rest = without_prefix(one.base)
    return rest is not None and rest == other.base


def _is_denied(one: Term, other: Term) -> bool:
    return _is_denial(other, one)
