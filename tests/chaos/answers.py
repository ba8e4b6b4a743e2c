"""What the simulated model says to a client's question, and what a log says: texts of attempts.

The model's text is a pure function of the question, so nobody need be asked what is right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tests.chaos.plan import JobPlan
from tests.chaos.told import Frame
from tidegate.simulator.answer import answer

# The simulator's own default.
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class AttemptText:
    """One attempt: `said` in it, `shown` to a reader at its end. `provider` empty: none called."""

    number: int
    provider: str
    said: str
    shown: str

    @property
    def tokens(self) -> int:
        """The simulator's tokens are words."""
        return len(self.said.split())


def messages_of(plan: JobPlan) -> list[dict[str, str]]:
    """What the client sends."""
    return [{"role": "user", "content": plan.question}]


def answer_to(plan: JobPlan) -> str:
    """The whole answer, of as many tokens as were asked for."""
    return _answer(plan.question, plan.tokens)


@lru_cache(maxsize=4_096)
def _answer(question: str, tokens: int) -> str:
    return answer(_SEED, [{"role": "user", "content": question}], tokens or None).text()


def attempts_of(log: Sequence[Frame]) -> list[AttemptText]:
    """All attempts of a log, in order."""
    starts = [place for place, frame in enumerate(log) if frame["type"] == "attempt_started"]
    ends = [*starts[1:], len(log)]
    attempts: list[AttemptText] = []
    for start, end in zip(starts, ends, strict=False):
        head = log[start]
        said = "".join(frame["data"] for frame in log[start:end] if frame["type"] == "delta")
        before = attempts[-1].shown if attempts and head.get("continues", False) else ""
        attempts.append(AttemptText(head["attempt"], head.get("provider", ""), said, before + said))
    return attempts


def wrong_texts(log: Sequence[Frame], state: str, right: str) -> Iterator[str]:
    """Whatever is not the model's answer, or the beginning of it where an attempt broke off."""
    attempts = attempts_of(log)
    for attempt in attempts:
        if not right.startswith(attempt.shown):
            yield f"attempt {attempt.number} is not how the model's answer begins"
    if state == "completed" and (not attempts or attempts[-1].shown != right):
        yield f"its text is not the model's answer of {len(right.split())} tokens"
