"""What speaks against two questions having one answer: rules that compare two readings.

Each rule sees the words of one question that have no counterpart in the other (what is left of a
pair), or how those that have one are ordered, and says at most one thing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from tidegate.cache.guard.frames import compatible
from tidegate.cache.guard.lexicon import lexicon
from tidegate.cache.guard.objections import Objection, versus
from tidegate.cache.guard.order import REWORDED, difference, direction
from tidegate.cache.guard.pairs import Pair
from tidegate.cache.guard.reading import Amount, Reading, Term

_OPPOSED: Final = (
    *(("in", "out"), ("on", "off"), ("up", "down"), ("over", "under"), ("above", "below")),
    *(("before", "after"), ("with", "without"), ("inside", "outside"), ("ever", "always")),
)
_AGAINST: Final = frozenset(_OPPOSED) | {(other, one) for one, other in _OPPOSED}
_OWNERS: Final = {
    **dict.fromkeys(("my", "mine", "our", "ours"), "my"),
    **dict.fromkeys(("your", "yours"), "your"),
    **dict.fromkeys(("his", "him", "he"), "his"),
    **dict.fromkeys(("her", "hers", "she"), "her"),
    **dict.fromkeys(("their", "theirs", "they", "them"), "their"),
}
# A question may say so many words more than another, and be near it all the same.
_MOST_EXTRA: Final = 2
_GETTING: Final = frozenset({"get", "receive", "have"})
_ALL: Final = frozenset(
    {"all", "every", "each", "everyone", "everybody", "everything", "entire", "whole"}
)
_ANY: Final = frozenset({"some", "any", "someone", "somebody", "anyone", "anybody"})
# Kinds of words that change the answer whenever they are there.
_TELLING: Final = frozenset(
    {
        "quantifier",
        "currency",
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
        "frequency adverb",
        "relative day",
        "time of day",
        "season",
    }
)
_ROLES: Final = ("role", "profession", "family member")


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
    return None if {*left, *right} == {"1"} else Objection("number", versus(left, right))


def _not_among(amounts: tuple[Amount, ...], others: tuple[Amount, ...]) -> list[str]:
    return [amount.whole for amount in amounts if not _is_among(amount, others)]


def _reordered(pair: Pair) -> Objection | None:
    """The same numbers, which belong to other words: those stand in the same order."""
    ours, theirs = pair.one.numbers_told, pair.other.numbers_told
    starts = [both[1].start for both in sorted(pair.matched, key=lambda both: both[0].start)]
    if sorted(ours) != sorted(theirs) or ours == theirs or starts != sorted(starts):
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


def _signs(pair: Pair) -> Objection | None:
    ours, theirs = Counter(pair.one.signs), Counter(pair.other.signs)
    if ours == theirs:
        return None
    return Objection("sign", versus((ours - theirs).elements(), (theirs - ours).elements()))


def _whose(pair: Pair) -> Objection | None:
    """Mine in one question, yours in the other; not where `you` is anybody in both."""
    ours, theirs = _owners(pair.one), _owners(pair.other)
    if ours <= theirs or theirs <= ours:
        return None
    words = set(pair.one.words), set(pair.other.words)
    if any("i" in one - other and "you" in other - one for one, other in (words, words[::-1])):
        return None
    return Objection("role", f"whose: {versus(ours - theirs, theirs - ours)}")


def _owners(reading: Reading) -> frozenset[str]:
    return frozenset(_OWNERS[word] for word in reading.words if word in _OWNERS)


def _bounds(pair: Pair) -> Objection | None:
    ours, theirs = pair.one.bounds, pair.other.bounds
    if ours == theirs:
        return None
    return Objection("comparison", versus(sorted(ours), sorted(theirs)))


def _particles(pair: Pair) -> Objection | None:
    for ours, theirs in pair.matched:
        if (ours.particle, theirs.particle) in _AGAINST:
            return Objection(
                "opposite", f"{ours.surface} {ours.particle} / {theirs.surface} {theirs.particle}"
            )
    return None


def _opposed_words(pair: Pair) -> Objection | None:
    """Small words that are opposites, where nearly all others agree: a lamp that is on, or off."""
    ours, theirs = set(pair.one.words), set(pair.other.words)
    if difference(pair) > REWORDED:
        return None
    for one, other in _AGAINST:
        if one in ours - theirs and other in theirs - ours:
            return Objection("opposite", f"{one} / {other}")
    return None


def _prepositions(pair: Pair) -> Objection | None:
    """During, before, via: they carry a meaning of their own, where nearly all others agree."""
    known = lexicon().closed["preposition"]
    ours, theirs = known & set(pair.one.words), known & set(pair.other.words)
    if ours == theirs or difference(pair) > REWORDED:
        return None
    return Objection("preposition", versus(ours - theirs, theirs - ours))


def _modality(pair: Pair) -> Objection | None:
    """Whether one may, must or should; and whether it is, or was."""
    if difference(pair) > REWORDED:
        return None
    ours, theirs = _modes(pair.one), _modes(pair.other)
    if ours and theirs and not ours & theirs:
        return Objection("modality", versus(ours, theirs))
    was, were = "did" in pair.one.words, "did" in pair.other.words
    now = {"do", "does"}
    if was != were and now & set((pair.other if was else pair.one).words):
        return Objection("modality", "did / does")
    return None


def _modes(reading: Reading) -> frozenset[str]:
    bases = lexicon().bases
    words = {bases.of(word) for word in reading.words} | set(reading.words)
    closed = lexicon().closed
    return frozenset(mode for mode in ("may", "must", "should") if words & closed[mode])


def _days(pair: Pair) -> Objection | None:
    return _differ("day", pair.one.days, pair.other.days)


def _times(pair: Pair) -> Objection | None:
    return _differ("time", pair.one.times, pair.other.times)


def _differ(rule: str, one: tuple[str, ...], other: tuple[str, ...]) -> Objection | None:
    ours, theirs = sorted(set(one) - set(other)), sorted(set(other) - set(one))
    if not ours and not theirs:
        return None
    return Objection(rule, versus(ours, theirs))


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
        telling = sorted(kind for kind, _ in term.kinds if _tells(kind, term))
        if term.base in lexicon().closed["telling"]:
            return Objection("quantifier", f"{term.surface} in one alone")
        if term.base in lexicon().closed["aspect"] and not term.light:
            return Objection("aspect", f"{term.surface} in one alone")
        if telling and term.base not in _ANY:
            return Objection(_rule_of(telling[0]), f"{term.surface} in one alone")
        if term.named:
            kind = min((kind for kind, _ in term.kinds), default="name")
            return Objection(_rule_of(kind), f"{term.surface} in one alone")
    return None


def _tells(kind: str, term: Term) -> bool:
    if kind.startswith("unit of"):
        # `on what day` is no unit.
        return not term.light
    return kind in _TELLING


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
    return any(amount.number == "1" for amount in reading.numbers) or "one" in reading.words


def _reflexive(pair: Pair) -> Objection | None:
    """Oneself in one question, somebody else in the other."""
    ours, theirs = (
        lexicon().closed["reflexive"] & set(reading.words) for reading in (pair.one, pair.other)
    )
    return Objection("role", versus(ours, theirs)) if bool(ours) != bool(theirs) else None


def _rule_of(kind: str) -> str:
    if kind.startswith("unit of"):
        return "unit"
    return "role" if kind in _ROLES else kind


def _wants(pair: Pair) -> Objection | None:
    if compatible(pair.one.wants, pair.other.wants):
        return None
    return Objection("aspect", versus(sorted(pair.one.wants), sorted(pair.other.wants)))


def _modifier(pair: Pair) -> Objection | None:
    """A word more that narrows a noun of both, where nearly all others agree.

    A return ticket is another than a ticket. What was worded anew has such words in plenty.
    """
    if difference(pair) > REWORDED:
        return None
    for rest, reading, side in ((pair.left, pair.one, 0), (pair.right, pair.other, 1)):
        nouns = {both[side].start for both in pair.matched}
        for term in rest:
            narrows = term.end in nouns and _narrows(term, reading)
            if narrows or (not term.light and _is_owned(term, reading)):
                return Objection("modifier", f"{term.surface} in one alone")
    return None


def _narrows(term: Term, reading: Reading) -> bool:
    """Whether it stands between what begins a noun phrase and its noun."""
    closed = lexicon().closed
    opening = closed["before a noun"] | closed["all"]
    before = reading.words[term.start - 1] if term.start else ""
    return not term.light and before in opening and term.base not in closed["empty modifier"]


def _is_owned(term: Term, reading: Reading) -> bool:
    """Whether it stands right after an owner: a topic's messages are none of its topics."""
    return any(each.owns and each.end == term.start for each in reading.terms)


def _words(pair: Pair) -> Objection | None:
    ours = [term.surface for term in pair.left if not term.light]
    theirs = [term.surface for term in pair.right if not term.light]
    if not ours and not theirs:
        return None
    grave = bool(ours and theirs) or len(ours) + len(theirs) > _MOST_EXTRA
    return Objection("words", versus(ours, theirs), grave=grave)


_RULES: Final[tuple[Callable[[Pair], Objection | None], ...]] = (
    _numbers,
    _signs,
    _whose,
    _times,
    _days,
    _bounds,
    _particles,
    _opposed_words,
    _prepositions,
    _modality,
    _opposite,
    _kinds,
    _one_sided,
    _one_or_all,
    _reflexive,
    _negation,
    _denied,
    direction,
    _modifier,
    _wants,
    _words,
)
