"""A question as the rules see it: terms, numbers, units, negations, and the answer it wants."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from tidegate.cache.guard.frames import ASKING, Frames, frames
from tidegate.cache.guard.lexicon import Lexicon, Phrase, lexicon, stem
from tidegate.cache.guard.quantities import length_of_time, number_at, plain, time_of_day
from tidegate.cache.guard.text import signs_of, tokens_of

# What such a word begins with may be the same word, denied.
_PREFIXES: Final = ("un", "non", "dis", "in", "im", "ir", "il", "de", "mis")
_DIRECTIONS: Final = {
    "from": "from", "off": "from", "since": "after", "until": "before", "till": "before",
    "to": "to", "into": "to", "onto": "to", "for": "to", "toward": "to",
    "towards": "to", "by": "by", "with": "with", "without": "without", "before": "before",
    "after": "after", "between": "between", "in": "in", "on": "in", "at": "in",
}  # fmt: skip
_LONGEST_PARTING: Final = 7
_AGENTS: Final = ("er", "or", "ee", "ist")
_UNIT_KINDS: Final = ("unit of", "currency")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of content, or a phrase of the lists.

    `phrase` are base forms; `groups` its synonyms' numbers, `kinds` what it is one of, `sides` its
    opposites; `after` is the preposition before it (one for each direction), `denied` whether a
    negation stands right before it.
    """

    phrase: Phrase
    surface: str
    groups: frozenset[int]
    kinds: frozenset[tuple[str, int]]
    sides: frozenset[tuple[int, int]]
    named: bool
    owns: bool
    light: bool
    after: str
    denied: bool
    start: int
    beside: tuple[str, str]
    particle: str
    parted: bool
    counted: bool
    passive: bool
    before_me: bool
    after_i: bool

    @property
    def end(self) -> int:
        """The place after it."""
        return self.start + (1 if self.parted else len(self.surface.split()))

    @property
    def base(self) -> str:
        """The phrase in one string."""
        return " ".join(self.phrase)


class Span(NamedTuple):
    """A phrase in base forms, empty for a word without content, and how many tokens it takes."""

    phrase: Phrase
    size: int


class Amount(NamedTuple):
    """A number as it stands, and with its unit where that is one of time: in one form."""

    number: str
    whole: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A question that was read. `numbers` are in one form each, sorted; so are `times`."""

    words: tuple[str, ...]
    terms: tuple[Term, ...]
    parts: dict[int, tuple[Term, ...]]
    numbers: tuple[Amount, ...]
    numbers_told: tuple[str, ...]
    times: tuple[str, ...]
    days: tuple[str, ...]
    signs: tuple[str, ...]
    bounds: frozenset[str]
    negations: int
    about_me: bool
    wants: frozenset[str]


@lru_cache(maxsize=4096)
def read(question: str) -> Reading:
    """Reads a question. Any text can be read; what is no English has terms and little else."""
    return _Reader(question, lexicon(), frames()).reading()


class _Reader:
    def __init__(self, question: str, known: Lexicon, asked: Frames) -> None:
        self._known, self._closed = known, known.closed
        self._tokens = tokens_of(question)
        self._words = [token.text for token in self._tokens]
        self._signs = signs_of(question)
        self._bases = [known.bases.of(word) for word in self._words]
        self._asked = asked.of(self._words)
        self._numbers: list[Amount] = []
        self._times: list[str] = []
        self._counts: set[str] = set()
        self._days: list[str] = []
        self._bounds: set[str] = set()
        self._negations = 0

    def reading(self) -> Reading:
        terms = tuple(self._terms())
        return Reading(
            tuple(self._words),
            terms,
            {
                term.start: tuple(self._parts(term))
                for term in terms
                if len(term.phrase) > 1 and not term.parted
            },
            tuple(sorted(self._numbers)),
            tuple(amount.whole for amount in self._numbers),
            tuple(sorted(self._times)),
            tuple(sorted(self._days)),
            self._signs,
            frozenset(self._bounds),
            self._negations,
            self._is_about_me(),
            self._wants(terms),
        )

    def _wants(self, terms: tuple[Term, ...]) -> frozenset[str]:
        """What is wanted; of `what is a mutex`, with nothing else in it, what it is."""
        content = [term for term in terms if not term.light]
        opening, rest = self._words[:2], self._words[2:]
        is_definition = (
            self._asked.wants == {"thing"}
            and opening in (["what", "is"], ["what", "are"])
            and len(content) == 1
            and not (self._closed["before a noun"] - {"a", "an"}) & set(rest)
        )
        return frozenset({"definition"}) if is_definition else self._asked.wants

    def _terms(self) -> Iterator[Term]:
        place, after, denied = 0, "", False
        while place < len(self._words):
            word = self._words[place]
            span = self._span_at(place)
            if (span.size == 1 or word[0].isdigit()) and (
                taken := self._quantity(place) or self._day(place)
            ):
                place += taken
            elif {word, self._bases[place]} & self._closed["negation"]:
                self._negations += 1
                denied = True
                place += 1
            elif not span.phrase or place in self._asked.framed:
                after = _DIRECTIONS.get(
                    word, after if word in self._closed["before a noun"] else ""
                )
                place += 1
            else:
                yield self._term(place, span, after, denied=denied)
                place += span.size
                after, denied = _DIRECTIONS.get(self._words[place - 1], ""), False

    def _quantity(self, place: int) -> int:
        """Takes a number or a time in; how many tokens it had."""
        words = self._words
        if (time := time_of_day(words, place)) is not None:
            self._times.append(time[0])
            return time[1]
        number = number_at(words, place)
        if number is None:
            return 0
        end = place + number.length
        unit = "" if number.ordinal else self._unit(place, end, number.value)
        if words[place] == "one" and number.length == 1 and not unit:
            return 0
        if words[place] == "second" and number.length == 1 and self._is_counting(place):
            return 0
        self._bound(place)
        self._counts.add(words[end - 1])
        word = words[place]
        # 3.10 is another version than 3.1.
        is_version = "." in word and word.endswith("0") and number.length == 1
        value = word if is_version else plain(number.value)
        self._numbers.append(Amount(value, unit or value))
        return number.length + (end < len(words) and self._is_time(self._bases[end]))

    def _is_counting(self, place: int) -> bool:
        """Whether `second` is the unit: after a number or `per`."""
        before = self._words[place - 1] if place else ""
        after = self._words[place + 1] if place + 1 < len(self._words) else ""
        if before == "a":
            return not after or after in self._known.function
        return before in {"per", "each", "every"} or before[:1].isdigit()

    def _unit(self, start: int, end: int, value: Fraction) -> str:
        """A number with its unit in one form; empty where it has none."""
        base = self._bases[end] if end < len(self._bases) else ""
        if (time := length_of_time(value, base)) is not None:
            return time
        phrase = self._span_at(end).phrase if end < len(self._bases) else ()
        for beside in (phrase, (self._words[start - 1] if start else "",)):
            for kind, group in sorted(self._known.kinds.get(beside, ())):
                if kind.startswith(_UNIT_KINDS):
                    return f"{plain(value)} {group}"
        return ""

    def _bound(self, place: int) -> None:
        """Takes in whether what stands before a number makes it a bound."""
        before = self._words[max(0, place - 2) : place]
        if before[-1:] in (["than"], ["to"], ["$"]):
            before = before[:-1]
        for name in ("above", "below", "before", "after", "exact"):
            if before and before[-1] in self._closed[name]:
                self._bounds.add(name)

    def _day(self, place: int) -> int:
        """Takes in a day that is named from now, such as `next friday`; how many tokens it had."""
        word = self._words[place]
        which = next((each for each in ("next", "last") if word in self._closed[each]), None)
        if which is None or place + 1 >= len(self._words):
            return 0
        base = self._bases[place + 1]
        kinds = {kind for kind, _ in self._known.kinds.get((base,), ())}
        if not (
            self._is_time(base)
            or kinds & {"weekday", "month", "season"}
            or base in self._closed["part of day"]
        ):
            return 0
        if which == "last" and base == "day":
            return 0
        self._days.append(f"{which} {base}".strip())
        return 2

    def _is_time(self, base: str) -> bool:
        return length_of_time(Fraction(1), base) is not None

    def _span_at(self, place: int) -> Span:
        """The longest phrase of the lists here, or the word itself; no phrase without content."""
        known, bases = self._known, self._bases
        longest = min(known.longest.get(bases[place], 1), len(bases) - place)
        for size in range(longest, 1, -1):
            phrase = tuple(bases[place : place + size])
            if phrase[0] == "a" and number_at(self._words, place + 1):
                continue
            if phrase in known.groups or phrase in known.kinds or phrase in known.opposites:
                return Span(phrase, size)
        parted = self._parted(place)
        if parted is not None:
            return Span(parted, 1)
        if self._words[place] in known.function or bases[place] in known.function:
            return Span((), 1)
        return Span((bases[place],), 1)

    def _parted(self, place: int) -> Phrase | None:
        """A verb whose particle comes later: `turn` the light `off`."""
        if self._bases[place] not in self._closed["parting"]:
            return None
        for word in self._words[place + 2 : place + _LONGEST_PARTING]:
            phrase = (self._bases[place], word)
            if word in self._closed["particle"] and phrase in self._known.groups:
                return phrase
        return None

    def _term(self, place: int, span: Span, after: str, *, denied: bool) -> Term:
        known, phrase, end = self._known, span.phrase, place + span.size
        return Term(
            phrase=phrase,
            surface=" ".join(self._words[place:end]),
            groups=known.groups.get(phrase, frozenset()),
            kinds=self._kinds_of(place, phrase),
            sides=known.opposites.get(phrase, frozenset()),
            named=any(token.named for token in self._tokens[place:end]),
            owns=any(token.owns for token in self._tokens[place:end]),
            light=len(phrase) == 1 and (phrase[0] in known.light or self._only_asks(phrase[0])),
            after=after,
            denied=denied,
            start=place,
            beside=self._beside(place, end),
            particle=self._particle(end),
            parted=len(phrase) > span.size,
            counted=place > 0 and self._words[place - 1] in self._counts,
            passive=bool(self._closed["be"] & set(self._words[max(0, place - 4) : place]))
            and self._words[place].endswith(("ed", "en", "id", "nt")),
            before_me=self._words[end : end + 1] in (["me"], ["us"]),
            after_i=place > 0 and self._words[place - 1] in {"i", "we"},
        )

    def _kinds_of(self, place: int, phrase: Phrase) -> frozenset[tuple[str, int]]:
        """What it is one of: `sat`, `sun` and `fall` are days only where a day may stand."""
        kinds = self._known.kinds.get(phrase, frozenset())
        if self._words[place] not in self._closed["often no day"]:
            return kinds
        before = self._words[max(0, place - 2) : place]
        if before[-1:] == ["the"]:
            before = before[:-1]
            is_day = before == ["in"]
        else:
            is_day = bool(before) and before[-1] in self._closed["before a day"]
        return kinds if is_day else frozenset()

    def _beside(self, start: int, end: int) -> tuple[str, str]:
        """The words before and after, passing over what belongs to a noun."""
        before, after = start - 1, end
        while before >= 0 and self._words[before] in self._closed["before a noun"]:
            before -= 1
        while after < len(self._words) and self._words[after] in self._closed["before a noun"]:
            after += 1
        return (
            self._words[before] if before >= 0 else "",
            self._words[after] if after < len(self._words) else "",
        )

    def _particle(self, place: int) -> str:
        word = self._words[place] if place < len(self._words) else ""
        return word if word in self._closed["particle"] else ""

    def _is_about_me(self) -> bool:
        """Whether something happens to who asks; `tell me` is no such thing."""
        return any(
            word in {"me", "us"} and place not in self._asked.framed
            for place, word in enumerate(self._words)
        )

    def _only_asks(self, base: str) -> bool:
        return any(base in ASKING.get(want, ()) for want in self._asked.wants)

    def _parts(self, term: Term) -> Iterator[Term]:
        """The words of a phrase, each as a term of its own."""
        after = term.after
        for offset, word in enumerate(term.phrase):
            place = term.start + offset
            if self._words[place] in self._known.function or word in self._known.function:
                after = _DIRECTIONS.get(self._words[place], after)
                continue
            yield self._term(place, Span((word,), 1), after, denied=term.denied)
            after = ""


def same(one: Term, other: Term) -> bool:
    """Whether two terms are the same word, or stand for one another."""
    if one.phrase == other.phrase or one.groups & other.groups:
        return True
    ours, theirs = {number for _, number in one.kinds}, {number for _, number in other.kinds}
    if ours & theirs:
        return True
    if ours and theirs:
        return False
    return "".join(one.phrase) == "".join(other.phrase) or (
        len(one.phrase) == len(other.phrase) == 1 and _derived(one.phrase[0], other.phrase[0])
    )


def _derived(one: str, other: str) -> bool:
    """Whether both come of one word. Who does a thing is not who it is done to, nor the thing."""
    return stem(one) == stem(other) and one.endswith(_AGENTS) == other.endswith(_AGENTS)


def without_prefix(word: str) -> str | None:
    """What a prefix denies in a word, if it has one."""
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) > len(prefix) + 2:
            return word[len(prefix) :]
    return None
