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


def tokens_of(question: str) -> list[Token]:
    """The tokens of a question, contractions written out, at most MAX_TOKENS."""
    text = unicodedata.normalize("NFKC", question).replace("\u2019", "'")
    found = list(_TOKEN.finditer(text[: MAX_TOKENS * 16]))
    shouted = _is_shouted(text)
    tokens: list[Token] = []
    for match in found:
        first = not tokens or text[: match.start()].rstrip()[-1:] in {".", "?", "!", ":", '"'}
        tokens += _split(match.group(), first=first or shouted)
        if len(tokens) >= MAX_TOKENS:
            break
    return tokens[:MAX_TOKENS]


def _is_shouted(text: str) -> bool:
    return text.upper() == text


def _split(word: str, *, first: bool) -> list[Token]:
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
