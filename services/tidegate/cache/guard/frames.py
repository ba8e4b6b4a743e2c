"""What kind of answer a question wants, by the ways of asking that `words/frames.txt` lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from tidegate.cache.guard.text import tokens_of

_FILE: Final = files("tidegate.cache.guard") / "words" / "frames.txt"
# Sections whose phrases are passed over whole.
_WHOLE: Final = frozenset({"polite", "request"})
_LONGEST_GAP: Final = 8
_PLAIN: Final = frozenset(
    ["what", "is", "are", "the", "does", "do", "did", "it", "to", "a", "of", "for", "i", "you"]
)
_AUXILIARIES: Final = frozenset(
    [
        "am",
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "may",
        "might",
        "must",
        "will",
        "would",
        "should",
        "shall",
        "has",
        "have",
        "had",
    ]
)
_BE: Final = frozenset({"is", "are", "was", "were"})
_WORKING: Final = frozenset({"work", "works", "function", "functions"})
_ACTORS: Final = frozenset({"i", "you", "we", "one"})
_WANTS: Final = {
    "how": "method", "whether": "yes or no", "why": "reason", "when": "time", "where": "place",
    "who": "person", "which": "thing", "what": "thing", "how long": "duration",
    "how often": "frequency", "how many": "amount", "how much": "amount", "cost": "cost",
    "how far": "distance", "how old": "age",
}  # fmt: skip
# What one answer never serves together, though all other words agree.
_APART: Final = {
    "reason": {
        *("method", "time", "place", "person", "cost", "duration"),
        *("yes or no", "amount", "frequency", "thing"),
    },
    "time": {"thing", "method", "place", "person", "cost", "yes or no", "amount"},
    "cost": {"method", "place", "person", "duration", "frequency"},
    "place": {"method", "person", "duration", "amount", "yes or no"},
    "person": {"method", "duration", "amount"},
    "duration": {"method", "yes or no", "amount", "frequency"},
    "amount": {"method", "frequency"},
    "frequency": {"yes or no", "method"},
    "definition": {
        *("method", "reason", "time", "place", "person", "cost", "duration", "amount"),
        "frequency",
    },
    "workings": {
        *("reason", "time", "place", "person", "cost", "duration", "amount", "frequency"),
    },
    "process": {"way"},
    "distance": {"method", "cost", "duration", "time"},
}
# Three kinds of how: to do a thing, where I can, and how it is done by others.
_HOWS: Final = {"way": "method", "process": "method"}
# Words that only name what is wanted.
_METHOD: Final = frozenset(["way", "method", "step", "procedure", "process", "how", "means"])
ASKING: Final = {
    "method": _METHOD,
    "way": _METHOD,
    "process": _METHOD,
    "reason": frozenset(["reason", "cause", "explanation", "why"]),
    "time": frozenset(
        ["time", "date", "day", "hour", "year", "moment", "deadline", "late", "when", "soon"]
    ),
    "place": frozenset(["place", "location", "spot", "where"]),
    "person": frozenset(["person", "who", "name"]),
    "cost": frozenset(["cost", "price", "fee", "charge", "expensive", "much", "pay", "rate"]),
    "duration": frozenset(["long", "length", "duration", "time", "period"]),
    "amount": frozenset(["many", "much", "number", "amount", "quantity", "count"]),
    "age": frozenset(["old", "age", "year"]),
    "distance": frozenset(["far", "distance", "away"]),
    "frequency": frozenset(["often", "frequently", "time"]),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """A way to ask: its words, and those that follow after a gap; `section` says what for."""

    head: tuple[str, ...]
    tail: tuple[str, ...]
    section: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question wants, and the places of words that say nothing but that."""

    wants: frozenset[str]
    framed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames by their first word, longest first."""

    by_first: dict[str, tuple[Frame, ...]]

    def of(self, words: Sequence[str]) -> Asked:
        """Reads the ways of asking out of a question; the first precise one counts."""
        wants: list[str] = []
        framed: set[int] = set()
        place, edge = 0, True
        while place < len(words):
            found = self._at(words, place)
            if found is None:
                place, edge = place + 1, False
                continue
            frame, places = found
            at_end = places[-1] == len(words) - 1
            if frame.section in _WANTS and _asks(frame, words, place):
                wants.append(_want(frame.section, words, place))
            # In the middle of a question they are words like others: a list, a find.
            if frame.section not in _WHOLE or edge or (at_end and frame.section == "polite"):
                framed.update(each for each in places if self._is_frame(frame, words[each]))
            place += len(frame.head)
        if not wants and words and words[0] in _AUXILIARIES:
            wants.append("yes or no")
        if words[:1] == ["what"] and words[-1] == "for":
            wants.append("reason")
        precise = [want for want in wants if want not in {"thing", "yes or no"}]
        return Asked(frozenset((precise or wants)[:1]), frozenset(framed))

    def _is_frame(self, frame: Frame, word: str) -> bool:
        """Whether a word of a frame is no content: in some all are, in most the asking ones."""
        if frame.section in _WHOLE:
            return True
        return any(word in asking for asking in ASKING.values()) or word in _PLAIN

    def _at(self, words: Sequence[str], place: int) -> tuple[Frame, list[int]] | None:
        for frame in self.by_first.get(words[place], ()):
            end = place + len(frame.head)
            if tuple(words[place:end]) != frame.head:
                continue
            if not frame.tail:
                return frame, list(range(place, end))
            size = len(frame.tail)
            for start in range(end + 1, min(end + _LONGEST_GAP, len(words) - size + 1)):
                if tuple(words[start : start + size]) == frame.tail:
                    return frame, [*range(place, end), *range(start, start + size)]
        return None


def _asks(frame: Frame, words: Sequence[str], place: int) -> bool:
    """Whether a lone question word asks: one that opens a clause of another kind does not."""
    if len(frame.head) > 1 or place == 0:
        return True
    after = words[place + 1] if place + 1 < len(words) else ""
    return frame.section not in {"when", "where", "who", "which"} or (
        after in _AUXILIARIES and frame.section != "who"
    )


def _want(section: str, words: Sequence[str], place: int) -> str:
    """What a section wants; where I can do a thing is a way to do it."""
    if section == "where" and "i" in words[:4]:
        return "way"
    if section == "how" and words[-1] in _WORKING and not _ACTORS & set(words):
        return "workings"
    after = words[place + 1 : place + 2]
    is_passive = section == "how" and set(after) <= _BE and not _ACTORS & set(words)
    return "process" if after and is_passive else _WANTS[section]


@cache
def frames() -> Frames:
    """The list, read once."""
    by_first: dict[str, list[Frame]] = {}
    section = ""
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        bare = line.partition("#")[0].strip()
        if bare.startswith("["):
            section = bare.strip("[]")
        elif bare and section != "failing":
            head, _, tail = bare.partition("...")
            words, after = (tuple(each.text for each in tokens_of(part)) for part in (head, tail))
            if words:
                by_first.setdefault(words[0], []).append(Frame(words, after, section))
    return Frames(
        {
            first: tuple(sorted(of, key=lambda each: -len(each.head) - len(each.tail)))
            for first, of in by_first.items()
        }
    )


def compatible(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether one answer may serve both wants."""
    return not any(_are_apart(ours, theirs) for ours in one for theirs in other)


def _are_apart(one: str, other: str) -> bool:
    general = _HOWS.get(one, one), _HOWS.get(other, other)
    return any(
        there in _APART.get(here, ())
        for here, there in ((one, other), (other, one), general, general[::-1])
    )
