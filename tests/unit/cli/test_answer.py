"""What a person, or a pipe, would read twice or lose when an attempt starts over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.answer import AnswerPrinter, cost_words, error_line, figures

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


@pytest.mark.parametrize(
    ("begun", "saved", "words"),
    [
        ({"cache": {"tier": "miss"}}, 0, " cache=miss"),
        ({"cache": None}, 0, " cache=miss"),
        ({"attempt": 1}, None, " cache=miss"),
        ({"cache": {"tier": "exact"}}, 63_000, " cache=exact saved=$0.000063"),
        ({"cache": {"tier": "semantic"}}, 0, " cache=semantic saved=$0.000000"),
        ({"cache": {"tier": "coalesced"}}, None, " cache=coalesced"),
        ({}, 0, ""),
    ],
)
def test_the_last_line_says_where_an_answer_came_from(
    begun: dict[str, object], saved: int | None, words: str
) -> None:
    """Whoever watches the bill asks that first; `{}`: watched from after the attempt began."""
    usage = {"output_tokens": 0}
    ended = {"usage": usage, "cost_nano_usd": 0, "saved_nano_usd": saved}
    assert figures(begun, ended) == f"tokens=0 cost=$0.000000{words}"


def test_a_job_that_failed_saved_nothing() -> None:
    ended = {"usage": {"output_tokens": 3}, "cost_nano_usd": None}
    begun = {"cache": {"tier": "coalesced"}}
    assert figures(begun, ended) == "tokens=3 cost=unknown cache=coalesced"
