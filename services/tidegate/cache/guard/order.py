"""Who does what to whom, from where to where: what the order of words tells.

Where two questions have nearly all words in common, their order is all that is left to differ in.
"""

from collections import Counter
from typing import Final

from tidegate.cache.guard.lexicon import lexicon
from tidegate.cache.guard.objections import Objection
from tidegate.cache.guard.pairs import Pair
from tidegate.cache.guard.reading import Reading, Term

_OPPOSED: Final = {
    ("from", "to"),
    ("to", "from"),
    ("before", "after"),
    ("after", "before"),
    ("with", "without"),
    ("without", "with"),
}
# Questions of more different words than this were worded anew, and their order tells little.
REWORDED: Final = 3
_ASKED_FOR: Final = frozenset({"who", "whom", "what", "which"})
_DO: Final = frozenset({"do", "does", "did"})
_PERSONS: Final = frozenset({"role", "profession", "family member", "life stage"})
_QUANTITIES: Final = ("unit of", "currency")


def direction(pair: Pair) -> Objection | None:
    """The rule: the same words, and another direction."""
    for ours, theirs in pair.matched:
        if (ours.after, theirs.after) in _OPPOSED:
            return Objection(
                "direction", f"{ours.after} {ours.surface} / {theirs.after} {theirs.surface}"
            )
        if (ours.after_i and theirs.before_me) or (ours.before_me and theirs.after_i):
            return Objection("direction", f"who {ours.surface} whom")
        if ours.owns != theirs.owns and any(kind in _PERSONS for kind, _ in ours.kinds):
            return Objection("role", f"whose: {ours.surface} / {theirs.surface}")
    # Where nearly all words are the same, their order is all that tells.
    if difference(pair) > REWORDED:
        return None
    if pair.one.about_me != pair.other.about_me:
        return Objection("direction", "me in one alone")
    return _subject_or_object(pair) or _voice(pair) or _turned(pair) or _swapped(pair)


def difference(pair: Pair) -> int:
    """How many words either question has that the other has not, the larger number."""
    ours, theirs = (
        Counter(word for word in reading.words if word not in {"a", "an", "the"})
        for reading in (pair.one, pair.other)
    )
    return max((ours - theirs).total(), (theirs - ours).total())


def _subject_or_object(pair: Pair) -> Objection | None:
    """Who does a thing, or to whom somebody does it: `who kills Hamlet`, `who does Hamlet kill`."""
    ours, theirs = _does(pair.one), _does(pair.other)
    if ours is None or theirs is None or ours == theirs:
        return None
    return Objection("direction", "who does it, or to whom it is done")


def _does(reading: Reading) -> bool | None:
    """Whether somebody else acts than who is asked for; None where that cannot be seen."""
    if not reading.words or reading.words[0] not in _ASKED_FOR:
        return None
    auxiliaries = lexicon().closed["auxiliary"] & set(reading.words)
    return bool(auxiliaries) if auxiliaries <= _DO else None


def _voice(pair: Pair) -> Objection | None:
    """What does a thing in one question, and has it done to itself in the other."""
    for ours, theirs in pair.matched:
        active, passive = (theirs, ours) if ours.passive else (ours, theirs)
        if active.passive == passive.passive:
            continue
        for both in pair.matched:
            actor, there = both[::-1] if ours.passive else both
            if actor.end == active.start and there.start < passive.start:
                return Objection("direction", f"{actor.surface} {active.surface}, or the reverse")
    return None


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
    """Whether an `or` or `and` holds both together, so that their order means nothing."""
    return _joined(pair.one, ours) and _joined(pair.other, theirs)


def _joined(reading: Reading, two: tuple[Term, Term]) -> bool:
    low, high = sorted(term.start for term in two)
    return bool(lexicon().closed["joint"] & set(reading.words[low:high]))
