"""What a person, or a pipe, would read twice or lose when an attempt starts over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.answer import AnswerPrinter, cost_words, error_line

_PARTS = st.lists(st.text(min_size=1, max_size=4), max_size=12)


@given(_PARTS, st.integers(0, 12), st.integers(0, 3))
def test_an_attempt_that_repeats_itself_is_printed_once(
    parts: list[str], lost_after: int, losses: int
) -> None:
    printer = AnswerPrinter()
    printed = ""
    for _ in range(losses):
        printer.begin_attempt()
        for part in parts[:lost_after]:
            printed += printer.add(part)
    printer.begin_attempt()
    for part in parts:
        printed += printer.add(part)
        assert not printer.restarted
    assert printed == "".join(parts)


def test_an_attempt_that_differs_is_printed_whole() -> None:
    printer = AnswerPrinter()
    printer.begin_attempt()
    assert printer.add("The sea ") == "The sea "
    assert printer.add("rises") == "rises"
    printer.begin_attempt()
    assert printer.add("The ") == ""
    assert printer.add("moon") == "The moon"
    assert printer.restarted
    assert printer.add(" pulls") == " pulls"
    assert not printer.restarted


def test_a_failure_says_when_to_ask_again_where_that_is_known() -> None:
    event = {"type": "failed", "message": "nobody answers", "reason": "CIRCUIT_OPEN"}
    assert error_line(event) == "failed: nobody answers (CIRCUIT_OPEN)"
    assert error_line(event | {"retry_after_ms": None}) == error_line(event)
    told = error_line(event | {"retry_after_ms": 4_200})
    assert told == "failed: nobody answers (CIRCUIT_OPEN), try again in 5 s"


@pytest.mark.parametrize(
    ("cost", "lost", "words"),
    [
        (63_000, 0, "cost=$0.000063"),
        (None, None, "cost=unknown"),
        (63_000, 21_000, "cost=$0.000063 lost=$0.000021"),
        (None, 21_000, "cost=unknown lost=$0.000021"),
    ],
)
def test_what_lost_attempts_cost_is_shown_where_they_did(
    cost: int | None, lost: int | None, words: str
) -> None:
    assert cost_words({"cost_nano_usd": cost, "lost_cost_nano_usd": lost}) == words
