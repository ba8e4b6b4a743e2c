"""The words that the guard knows: synonyms, opposites, kinds of things, and words of little weight.

The lists are files under `words/`, a group a line, its members apart by ` | `. A word may stand in
several groups: two words are the same if they share one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, TypeVar

from snowballstemmer import stemmer

from tidegate.cache.guard.text import tokens_of

_WORDS: Final = files("tidegate.cache.guard") / "words"
_SYNONYMS: Final = (
    "verbs.txt",
    "nouns.txt",
    "adjectives.txt",
    "measures.txt",
    "near.txt",
    "near_more.txt",
)
# What is read as a number.
_NUMBERS: Final = frozenset({"number word", "multiple", "ordinal", "fraction"})
_LONGEST_PHRASE: Final = 6

Phrase = tuple[str, ...]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bases:
    """Base forms: `irregular` ones that no rule finds, and the words that are `known` as such."""

    irregular: dict[str, str]
    known: frozenset[str]
    function: frozenset[str]

    def of(self, word: str) -> str:
        """The base form of an inflected word, as the lists have it; else the word, less a plural s.

        Only inflections: what ends in -er may be a person, and is left as it is.
        """
        if word in self.irregular:
            return self.irregular[word]
        if len(word) < 4 or word in self.function:
            return word
        for form in _bases(word):
            if form in self.known and form not in self.function:
                return self.irregular.get(form, form)
        return word if word in self.known else _singular(word)

    def phrase(self, phrase: Phrase) -> Phrase:
        """A phrase in base forms."""
        return tuple(self.of(word) for word in phrase)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All lists, by phrase: a word's base form, or several.

    `groups` are synonyms, `opposites` the sides that a phrase stands on (a pair's number and 0 or
    1), `kinds` what it is one of (and which of them), `light` the words that carry little,
    `function` those that carry nothing; `closed` are the small lists that rules name; `longest` is
    the length of the longest phrase that begins with a word.
    """

    bases: Bases
    groups: dict[Phrase, frozenset[int]]
    opposites: dict[Phrase, frozenset[tuple[int, int]]]
    kinds: dict[Phrase, frozenset[tuple[str, int]]]
    light: frozenset[str]
    function: frozenset[str]
    closed: dict[str, frozenset[str]]
    longest: dict[str, int]


@cache
def lexicon() -> Lexicon:
    """The lists, read once."""
    closed = _closed()
    # What denies is counted, and not a word like others.
    groups = [
        tuple(
            phrase for phrase in group if len(phrase) == 1 or not closed["negation"] & set(phrase)
        )
        for name in _SYNONYMS
        for group in _groups(name)
    ]
    kinds, opposites = list(_kinds("kinds.txt")), list(_opposites("opposites.txt"))
    light, function = _flat("light.txt"), _flat("function.txt")
    phrases = [phrase for group in groups for phrase in group]
    phrases += [phrase for _, group in kinds for phrase in group]
    phrases += [phrase for sides in opposites for side in sides for phrase in side]
    irregular = dict(_forms("irregular.txt"))
    spelt = frozenset(word for phrase in phrases for word in phrase)
    known = (spelt | light | function | set(irregular.values())) - irregular.keys()
    bases = Bases(irregular, known, function)
    return Lexicon(
        bases=bases,
        groups=_index(bases, ((number, group) for number, group in enumerate(groups))),
        opposites=_index(
            bases,
            (
                ((number, side), phrases)
                for number, sides in enumerate(opposites)
                for side, phrases in enumerate(sides)
            ),
        ),
        kinds=_index(
            bases, (((kind, number), group) for number, (kind, group) in enumerate(kinds))
        ),
        light=frozenset(bases.of(word) for word in light),
        function=function,
        closed=closed,
        longest=_longest(bases, phrases),
    )


def _index(bases: Bases, of: Iterable[tuple[T, tuple[Phrase, ...]]]) -> dict[Phrase, frozenset[T]]:
    found: dict[Phrase, set[T]] = {}
    for what, phrases in of:
        for phrase in phrases:
            found.setdefault(bases.phrase(phrase), set()).add(what)
    return {phrase: frozenset(what) for phrase, what in found.items()}


def _longest(bases: Bases, phrases: Iterable[Phrase]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for phrase in phrases:
        first = bases.of(phrase[0])
        longest[first] = min(max(longest.get(first, 1), len(phrase)), _LONGEST_PHRASE)
    return longest


@cache
def _stemmer() -> object:
    return stemmer("english")


@cache
def stem(word: str) -> str:
    """What a word has in common with its derivations, by the Snowball English stemmer."""
    stemmed: str = _stemmer().stemWord(word)  # type: ignore[attr-defined]
    return stemmed


def _bases(word: str) -> Iterator[str]:
    if word.endswith("ies"):
        yield word[:-3] + "y"
    if word.endswith("es"):
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
    if word.endswith("ied"):
        yield word[:-3] + "y"
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            rest = word[: -len(ending)]
            yield rest + "e"
            yield rest
            if len(rest) > 2 and rest[-1] == rest[-2]:
                yield rest[:-1]
    if word.endswith("est"):
        rest = word[:-3]
        yield rest
        yield rest + "e"
        yield rest[:-1]
        yield rest.removesuffix("i") + "y"
    if "ise" in word or "isa" in word or "isi" in word:
        yield word.replace("isa", "iza").replace("ise", "ize").replace("isi", "izi")


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _lines(name: str) -> Iterator[str]:
    for line in (_WORDS / name).read_text(encoding="utf-8").splitlines():
        if bare := line.partition("#")[0].strip():
            yield bare


def _phrase(text: str) -> Phrase:
    return tuple(token.text for token in tokens_of(text))


def _closed() -> dict[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    name = ""
    for line in _lines("closed.txt"):
        if line.startswith("["):
            name = line.strip("[]")
        else:
            sections.setdefault(name, set()).update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


def _members(text: str) -> tuple[Phrase, ...]:
    return tuple(phrase for part in text.split("|") if (phrase := _phrase(part.strip())))


def _groups(name: str) -> Iterator[tuple[Phrase, ...]]:
    for line in _lines(name):
        yield _members(line)


def _opposites(name: str) -> Iterator[tuple[tuple[Phrase, ...], tuple[Phrase, ...]]]:
    for line in _lines(name):
        one, _, other = line.partition("<>")
        yield _members(one), _members(other)


def _kinds(name: str) -> Iterator[tuple[str, tuple[Phrase, ...]]]:
    kind = ""
    for line in _lines(name):
        if line.startswith("["):
            kind = line.strip("[]")
        elif kind not in _NUMBERS:
            yield kind, _members(line)


def _forms(name: str) -> Iterator[tuple[str, str]]:
    for line in _lines(name):
        base, *forms = line.split()
        for form in forms:
            yield form, base


def _flat(name: str) -> frozenset[str]:
    return frozenset(word for line in _lines(name) for word in line.split())
