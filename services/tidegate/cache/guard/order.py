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
# The place of a verb whose subject is asked for: `who kills`, `which team beats`.
_LATEST_VERB: Final = 2
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
    ours, theirs = _asks_for_object(pair.one), _asks_for_object(pair.other)
    if ours == theirs or not _asks_for_somebody(pair):
        return None
    for verb in pair.matched:
        for noun in pair.matched:
            asked, told = (0, 1) if ours else (1, 0)
            if (
                noun[asked].end == verb[asked].start
                and verb[told].start <= _LATEST_VERB
                and verb[told].start < noun[told].start
            ):
                return Objection("direction", f"who {verb[told].surface} whom")
    return None


def _asks_for_somebody(pair: Pair) -> bool:
    return all(set(each.words[:1]) & _ASKED_FOR for each in (pair.one, pair.other))


def _asks_for_object(reading: Reading) -> bool:
    """Whether an auxiliary follows right after what is asked for: `which team did X beat`."""
    return bool(_DO & set(reading.words[1:3]))


def _voice(pair: Pair) -> Objection | None:
    """What does a thing to something in one question, and has it done to itself in the other."""
    for ours, theirs in pair.matched:
        active, passive = (theirs, ours) if ours.passive else (ours, theirs)
        acting = pair.other if ours.passive else pair.one
        if active.passive == passive.passive or not _is_participle(passive):
            continue
        for both in pair.matched:
            actor, there = both[::-1] if ours.passive else both
            before = actor.end == active.start and there.start < passive.start
            if before and any(term.start > active.start for term in acting.terms):
                return Objection("direction", f"{actor.surface} {active.surface}, or the reverse")
    return None


def _is_participle(term: Term) -> bool:
    """Whether it is a form of a verb: `payment` only ends like one."""
    return term.surface != term.base and term.surface.endswith(("ed", "en"))


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
