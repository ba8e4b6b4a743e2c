"""A question as tokens: words, numbers and signs, with what their writing tells."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

# Longer questions are not read to their end: they are no ones that a person rewords.
MAX_TOKENS: Final = 256

_TOKEN: Final = re.compile(
    r"\d+(?:[.,:/]\d+)*"  # 12  1,000  3.5  17:30  1/8
    r"|[^\W\d_]+(?:['\u2019][^\W\d_]+)*(?:\+\+|#)?"  # words, with apostrophes; C++, C#
    r"|[$€£¥%°&+]"
)
_SIGN: Final = re.compile(
    r"(?:(?<=\d)|(?<![^\s(=<>*/+]))[-\u2212\u2013](?=[\d(])"  # a minus
    r"|(?<=\s)[/%](?=\s)|&(?=[^\W\d_])|(?<!\d)%(?=[^\W\d_])"
    r"|[^\w\s.,?!:;'\"`()\-\u2010-\u2027\u2212\ufe0f\u200d/%$\u20ac\u00a3\u00a5\u00b0&\u00ab\u00bb\u00bf\u00a1]"
)
_CONTRACTIONS: Final = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "let's": "let us",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "have to",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "wasnt": "was not",
    "arent": "are not",
    "havent": "have not",
    "hasnt": "has not",
    "cant": "can not",
    "wont": "will not",
    "couldnt": "could not",
    "wouldnt": "would not",
    "whats": "what is",
    "hows": "how is",
    "wheres": "where is",
    "im": "i am",
    "ive": "i have",
}
_AROUND: Final = frozenset("()[]{}<>=*&+")
# What capitals tell from words that carry nothing: the country, and a thing called A.
_SPELT: Final = {"US": "usa", "A": "a-"}
_ENDINGS: Final = {
    "n't": "not",
    "'re": "are",
    "'ve": "have",
    "'ll": "will",
    "'m": "am",
    "'d": "would",
}
# After these, 's is a verb; after any other word it is the owner's mark.
_BE: Final = frozenset(
    {"what", "how", "where", "who", "when", "why", "that", "there", "here", "it", "he", "she"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """`text` in lower case.

    `named` says that it was written as a name in the middle of a text, `owns` that it has the mark
    of an owner.
    """

    text: str
    named: bool = False
    owns: bool = False


def signs_of(question: str) -> tuple[str, ...]:
    """What tells and is no word: operators, a minus before a number, emoji; sorted.

    Punctuation of sentences, and signs that `tokens_of` reads as words, are not among them.
    """
    text = unicodedata.normalize("NFKC", question)[: MAX_TOKENS * 16]
    return tuple(sorted(match.group().strip() for match in _SIGN.finditer(text)))


def tokens_of(question: str) -> list[Token]:
    """The tokens of a question, contractions written out, at most MAX_TOKENS."""
    text = unicodedata.normalize("NFKC", question).replace("\u2019", "'")
    found = list(_TOKEN.finditer(text[: MAX_TOKENS * 16]))
    shouted = _is_shouted(text)
    tokens: list[Token] = []
    for match in found:
        first = not tokens or text[: match.start()].rstrip()[-1:] in {".", "?", "!", ":", '"'}
        tokens += _split(match.group(), first=first or shouted, symbol=_is_symbol(text, match))
        if len(tokens) >= MAX_TOKENS:
            break
    return tokens[:MAX_TOKENS]


def _is_shouted(text: str) -> bool:
    return text.upper() == text


def _is_symbol(text: str, match: re.Match[str]) -> bool:
    """Whether a single letter stands for a thing, as in `f(a)`."""
    before, after = text[: match.start()][-1:], text[match.end() :][:1]
    return len(match.group()) == 1 and (before in _AROUND or after in _AROUND)


def _split(word: str, *, first: bool, symbol: bool = False) -> list[Token]:
    if symbol and word.casefold() == "a":
        return [Token("a-", named=True)]
    lower = _SPELT.get(word, word.casefold()) if not first else word.casefold()
    if lower in _CONTRACTIONS:
        return [Token(part) for part in _CONTRACTIONS[lower].split()]
    for ending, meaning in _ENDINGS.items():
        if lower.endswith(ending) and len(lower) > len(ending):
            return [Token(lower[: -len(ending)]), Token(meaning)]
    if lower.endswith("'s"):
        stem = lower[:-2]
        return (
            [Token(stem), Token("is")]
            if stem in _BE
            else [Token(stem, _is_name(word, first), owns=True)]
        )
    return [Token(lower.replace("'", ""), _is_name(word, first))]


def _is_name(word: str, first: bool) -> bool:
    inner = word[1:]
    return word[:1].isupper() and (not first or inner != inner.lower()) and word != "I"
