"""The text of an answer that is to be kept: a part of one, given again, would pass for whole."""

import pytest

from tidegate.contracts.events import Delta
from tidegate.worker.answer import WholeText


def heard(*deltas: Delta, most_bytes: int = 100) -> str | None:
    whole = WholeText(most_bytes)
    for delta in deltas:
        whole.take(delta)
    return whole.text


def test_text_is_kept_and_thoughts_are_passed_over() -> None:
    assert heard(Delta("a"), Delta("hm", "reasoning"), Delta("b")) == "ab"


@pytest.mark.parametrize(
    "delta",
    [
        Delta("no", "refusal"),
        Delta("{}", "tool_call"),
        Delta("{}", "logprobs"),
        Delta("other", choice=1),
    ],
)
def test_anything_else_is_no_answer_to_keep(delta: Delta) -> None:
    assert heard(Delta("a"), delta, Delta("b")) is None


def test_more_than_the_bound_is_nothing() -> None:
    assert heard(Delta("ab"), Delta("cd"), most_bytes=4) == "abcd"
    assert heard(Delta("ab"), Delta("cd"), Delta("e"), most_bytes=4) is None
    assert heard(Delta("潮" * 2), most_bytes=5) is None
