"""What a person, or a pipe, would read twice or lose when an attempt starts over."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.answer import AnswerPrinter

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
