"""What the simulated model says: a pure function of the seed and the messages.

One token is one word with its leading space and, at the end of a sentence, its full stop. The same
seed and messages give the same endless text; an answer is a beginning of it, so a longer answer
starts with the shorter one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from tidegate.simulator.words import LONGEST_SENTENCE, SENTENCES

SHORTEST_NATURAL: Final = 30
LONGEST_NATURAL: Final = 120

# Knuth's MMIX linear congruential generator; its high bits are good enough to pick words, and one
# step costs far less than `random.Random`, which matters at tens of thousands of tokens a second.
_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MASK: Final = (1 << 64) - 1

_Form = tuple[bytes, bytes, bytes]


def _forms(word: str) -> _Form:
    """The word as it stands in the middle, at the beginning and at the end of a sentence."""
    return f" {word}".encode(), f" {word.capitalize()}".encode(), f" {word}.".encode()


_SHAPES: Final = tuple(
    tuple(tuple(_forms(word) for word in words) for words in shape) for shape in SENTENCES
)


def digest_of(seed: int, messages: Sequence[Mapping[str, Any]]) -> int:
    """64 bits that stand for the seed and the messages; the order of keys does not matter."""
    canonical = msgspec.json.encode(messages, order="sorted")
    key = seed.to_bytes(8, "little", signed=True)
    return int.from_bytes(blake2b(canonical, digest_size=8, key=key).digest(), "little")


def text_tokens(digest: int) -> Iterator[bytes]:
    """The endless text of a digest, one ASCII token at a time."""
    state, opening = digest, True
    while True:
        state = (state * _MULTIPLIER + _INCREMENT) & _MASK
        shape = _SHAPES[(state >> 33) % len(_SHAPES)]
        last = len(shape) - 1
        for place, words in enumerate(shape):
            state = (state * _MULTIPLIER + _INCREMENT) & _MASK
            middle, first, final = words[(state >> 33) % len(words)]
            if place == 0:
                yield first[1:] if opening else first
                opening = False
            else:
                yield final if place == last else middle


def natural_length(digest: int) -> int:
    """Tokens of an answer whose length nobody asked for: 30 to 120, ending with a sentence."""
    spread = LONGEST_NATURAL - LONGEST_SENTENCE - SHORTEST_NATURAL + 1
    at_least = SHORTEST_NATURAL + (digest >> 17) % spread
    for count, token in enumerate(text_tokens(digest), start=1):
        if count >= at_least and token.endswith(b"."):
            return count
    raise AssertionError("the text of a digest has no end")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `length` tokens of the digest's text."""

    digest: int
    length: int
    finish_reason: Literal["stop", "length"]

    def tokens(self) -> Iterator[bytes]:
        """The answer's tokens, ASCII, exactly `length` of them."""
        return islice(text_tokens(self.digest), self.length)

    def text(self) -> str:
        """The whole answer."""
        return b"".join(self.tokens()).decode("ascii")


def answer(seed: int, messages: Sequence[Mapping[str, Any]], max_tokens: int | None) -> Answer:
    """The answer to the messages: exactly `max_tokens` long where given, else of natural length."""
    digest = digest_of(seed, messages)
    if max_tokens is None:
        return Answer(digest, natural_length(digest), "stop")
    return Answer(digest, max_tokens, "length")
