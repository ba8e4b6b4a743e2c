"""What speaks against two questions having one answer: rules that compare two readings.

Each rule sees the words of one question that have no counterpart in the other (what is left of a
pair), or how those that have one are ordered, and says at most one thing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tidegate.cache.guard.frames import compatible
from tidegate.cache.guard.lexicon import lexicon
from tidegate.cache.guard.reading import Amount, Reading, Term, same, without_prefix

_OPPOSED: Final = {
    ("from", "to"),
    ("to", "from"),
    ("before", "after"),
    ("after", "before"),
    ("with", "without"),
    ("without", "with"),
}
_AGAINST: Final = {
    ("in", "out"),
    ("out", "in"),
    ("on", "off"),
    ("off", "on"),
    ("up", "down"),
    ("down", "up"),
}
# A question may say so many words more than another, and be near it all the same.
_MOST_EXTRA: Final = 1
_GETTING: Final = frozenset({"get", "receive", "have"})
_ALL: Final = frozenset(
    {"all", "every", "each", "everyone", "everybody", "everything", "entire", "whole"}
)
_ANY: Final = frozenset({"some", "any"})
# Kinds of words that change the answer whenever they are there.
_TELLING: Final = frozenset(
    {
        "quantifier",
        "family member",
        "role",
        "weekday",
        "month",
        "country",
        "city",
        "language",
        "religion",
        "gender",
        "life stage",
        "marital status",
        "us state",
    }
)
# Questions of more different words than this were worded anew, and their order tells little.
_REWORDED: Final = 3
_QUANTITIES: Final = ("unit of", "currency")
_ROLES: Final = ("role", "profession", "family member")


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
    return tuple(term for term in rest if not any(same(term, each) for each in seen))


def objections(pair: Pair) -> Iterator[Objection]:
    """All that speaks against, gravest rules first."""
    for rule in _RULES:
        found = rule(pair)
        if found is not None:
            yield found


def _numbers(pair: Pair) -> Objection | None:
    # `first`, `one` and `once` are as often no number.
    left = _not_among(pair.one.numbers, pair.other.numbers)
    right = _not_among(pair.other.numbers, pair.one.numbers)
    if not left and not right:
        return _reordered(pair)
    return None if {*left, *right} == {"1"} else Objection("number", _versus(left, right))


def _not_among(amounts: tuple[Amount, ...], others: tuple[Amount, ...]) -> list[str]:
    return [amount.whole for amount in amounts if not _is_among(amount, others)]


def _reordered(pair: Pair) -> Objection | None:
    """The same numbers, which belong to other words: those stand in the same order."""
    ours, theirs = pair.one.numbers_told, pair.other.numbers_told
    starts = [both[1].start for both in sorted(pair.matched, key=lambda both: both[0].start)]
    if ours == theirs or starts != sorted(starts):
        return None
    return Objection("number", f"{', '.join(ours)} / {', '.join(theirs)}")


def _is_among(amount: Amount, others: tuple[Amount, ...]) -> bool:
    """Whether a number is one of others; where one of both has no unit, that is enough."""
    return any(
        amount.whole == other.whole
        or (amount.number == other.number and (_is_bare(amount) or _is_bare(other)))
        for other in others
    )


def _is_bare(amount: Amount) -> bool:
    return amount.whole == amount.number


def _bounds(pair: Pair) -> Objection | None:
    ours, theirs = pair.one.bounds, pair.other.bounds
    if not ours or not theirs or ours & theirs:
        return None
    return Objection("comparison", _versus(sorted(ours), sorted(theirs)))


def _particles(pair: Pair) -> Objection | None:
    for ours, theirs in pair.matched:
        if (ours.particle, theirs.particle) in _AGAINST:
            return Objection(
                "opposite", f"{ours.surface} {ours.particle} / {theirs.surface} {theirs.particle}"
            )
    return None


def _days(pair: Pair) -> Objection | None:
    return _differ("day", pair.one.days, pair.other.days)


def _times(pair: Pair) -> Objection | None:
    return _differ("time", pair.one.times, pair.other.times)


def _differ(rule: str, one: tuple[str, ...], other: tuple[str, ...]) -> Objection | None:
    ours, theirs = sorted(set(one) - set(other)), sorted(set(other) - set(one))
    if not ours and not theirs:
        return None
    return Objection(rule, _versus(ours, theirs))


def _versus(ours: Iterable[str], theirs: Iterable[str]) -> str:
    return f"{', '.join(ours) or 'nothing'} / {', '.join(theirs) or 'nothing'}"


def _negation(pair: Pair) -> Objection | None:
    if (pair.one.negations + pair.other.negations + pair.denials) % 2 == 0:
        return None
    return Objection("negation", "one of both denies something")


def _denied(pair: Pair) -> Objection | None:
    """The same number of negations, but of other words."""
    if not pair.one.negations or "but" not in (*pair.one.words, *pair.other.words):
        return None
    for ours, theirs in pair.matched:
        if ours.denied != theirs.denied:
            return Objection("negation", f"of {ours.surface} in one alone")
    return None


def _opposite(pair: Pair) -> Objection | None:
    for ours in pair.left:
        for theirs in pair.right:
            if _are_opposed(ours, theirs) and not _is_converse(ours, theirs):
                return Objection("opposite", f"{ours.surface} / {theirs.surface}")
    return None


def _are_opposed(one: Term, other: Term) -> bool:
    return any((number, 1 - side) in other.sides for number, side in one.sides)


def _is_converse(one: Term, other: Term) -> bool:
    """Whether one is given and the other gets: the same, seen from either end."""
    return one.passive != other.passive and bool(_GETTING & {one.base, other.base})


def _is_denial(one: Term, other: Term) -> bool:
    rest = without_prefix(one.base)
    return rest is not None and rest == other.base


def _is_denied(one: Term, other: Term) -> bool:
    return _is_denial(other, one)


def _kinds(pair: Pair) -> Objection | None:
    for ours in pair.left:
        for theirs in pair.right:
            common = {kind for kind, _ in ours.kinds} & {kind for kind, _ in theirs.kinds}
            if common:
                return Objection(_rule_of(min(common)), f"{ours.surface} / {theirs.surface}")
    return None


def _one_sided(pair: Pair) -> Objection | None:
    """A name, or one of the kinds that always tell, without a counterpart."""
    for term in (*pair.left, *pair.right):
        telling = sorted(kind for kind, _ in term.kinds if kind in _TELLING)
        if term.base in lexicon().closed["telling"]:
            return Objection("quantifier", f"{term.surface} in one alone")
        if telling and term.base not in _ALL and term.base not in _ANY:
            return Objection(_rule_of(telling[0]), f"{term.surface} in one alone")
        if term.named:
            kind = min((kind for kind, _ in term.kinds), default="name")
            return Objection(_rule_of(kind), f"{term.surface} in one alone")
    return None


def _one_or_all(pair: Pair) -> Objection | None:
    """All of them in one question, a single one in the other."""
    for rest, there, here in (
        (pair.left, pair.other, pair.one),
        (pair.right, pair.one, pair.other),
    ):
        single = _has_one(there) and not _has_one(here)
        if single and any(term.base in _ALL for term in rest):
            return Objection("quantifier", "all / one")
    return None


def _has_one(reading: Reading) -> bool:
    return "1" in reading.numbers_told or "one" in reading.words


def _reflexive(pair: Pair) -> Objection | None:
    """Oneself in one question, somebody else in the other."""
    ours, theirs = (
        lexicon().closed["reflexive"] & set(reading.words) for reading in (pair.one, pair.other)
    )
    return Objection("role", _versus(ours, theirs)) if bool(ours) != bool(theirs) else None


def _rule_of(kind: str) -> str:
    if kind.startswith("unit of"):
        return "unit"
    return "role" if kind in _ROLES else kind


def _direction(pair: Pair) -> Objection | None:
    for ours, theirs in pair.matched:
        if (ours.after, theirs.after) in _OPPOSED:
            return Objection(
                "direction", f"{ours.after} {ours.surface} / {theirs.after} {theirs.surface}"
            )
        if (ours.after_i and theirs.before_me) or (ours.before_me and theirs.after_i):
            return Objection("direction", f"who {ours.surface} whom")
    # Where nearly all words are the same, their order is all that tells.
    if _difference(pair) > _REWORDED:
        return None
    return _turned(pair) or _swapped(pair)


def _difference(pair: Pair) -> int:
    """How many words either question has that the other has not, the larger number."""
    ours, theirs = (
        Counter(word for word in reading.words if word not in {"a", "an", "the"})
        for reading in (pair.one, pair.other)
    )
    return max((ours - theirs).total(), (theirs - ours).total())


def _turned(pair: Pair) -> Objection | None:
    """After the same preposition one question has what the other has elsewhere, and in turn."""
    for ours, theirs in pair.matched:
        if not ours.after or theirs.after == ours.after:
            continue
        for ours_2, theirs_2 in pair.matched:
            if theirs_2.after == ours.after and ours_2.after != ours.after:
                return Objection(
                    "direction", f"{ours.after} {ours.surface} / {ours.after} {theirs_2.surface}"
                )
    return None


def _swapped(pair: Pair) -> Objection | None:
    """Two things that change places: each stands where the other stood."""
    for index, first in enumerate(pair.matched):
        for second in pair.matched[index + 1 :]:
            ours, theirs = (first[0], second[0]), (first[1], second[1])
            if _change_places(ours, theirs) and not _are_joint(pair, ours, theirs):
                return Objection("direction", f"{ours[0].surface}, {ours[1].surface} / in turn")
    return None


def _change_places(ours: tuple[Term, Term], theirs: tuple[Term, Term]) -> bool:
    if (ours[0].start < ours[1].start) == (theirs[0].start < theirs[1].start):
        return False
    if any(kind.startswith(_QUANTITIES) for kind, _ in ours[0].kinds & ours[1].kinds):
        return ours[0].counted == theirs[1].counted != theirs[0].counted
    return _stand_alike(ours[0], theirs[1]) and _stand_alike(ours[1], theirs[0])


def _stand_alike(one: Term, other: Term) -> bool:
    return any(a == b for a, b in zip(one.beside, other.beside, strict=True))


def _are_joint(pair: Pair, ours: tuple[Term, Term], theirs: tuple[Term, Term]) -> bool:
    """Whether an `or`, `and` or `between` holds both together, so that their order means nothing."""
    return _joined(pair.one, ours) and _joined(pair.other, theirs)


def _joined(reading: Reading, two: tuple[Term, Term]) -> bool:
    low, high = sorted(term.start for term in two)
    return bool(lexicon().closed["joint"] & set(reading.words[low:high]))


def _wants(pair: Pair) -> Objection | None:
    if compatible(pair.one.wants, pair.other.wants):
        return None
    return Objection("aspect", _versus(sorted(pair.one.wants), sorted(pair.other.wants)))


def _words(pair: Pair) -> Objection | None:
    ours = [term.surface for term in pair.left if not term.light]
    theirs = [term.surface for term in pair.right if not term.light]
    if not ours and not theirs:
        return None
    grave = bool(ours and theirs) or len(ours) + len(theirs) > _MOST_EXTRA
    return Objection("words", _versus(ours, theirs), grave=grave)


_RULES: Final[tuple[Callable[[Pair], Objection | None], ...]] = (
    _numbers,
    _times,
    _days,
    _bounds,
    _particles,
    _opposite,
    _kinds,
    _one_sided,
    _one_or_all,
    _reflexive,
    _negation,
    _denied,
    _direction,
    _wants,
    _words,
)
