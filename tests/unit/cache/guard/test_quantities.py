"""Numbers are read alike, however they are written: else a repeat is missed, or worse, another."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.guard.quantities import length_of_time, number_at, plain, time_of_day
from tidegate.cache.guard.text import tokens_of

ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = [
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spelt(number: int) -> str:
    """A number from 1 to 999,999 in words."""
    if number >= 1000:
        rest = f" {spelt(number % 1000)}" if number % 1000 else ""
        return f"{spelt(number // 1000)} thousand{rest}"
    if number >= 100:
        rest = f" and {spelt(number % 100)}" if number % 100 else ""
        return f"{ONES[number // 100 - 1]} hundred{rest}"
    if number >= 20:
        rest = f" {ONES[number % 10 - 1]}" if number % 10 else ""
        return TENS[number // 10 - 2] + rest
    return (ONES + TEENS)[number - 1]


def first_number(text: str) -> Fraction | None:
    found = number_at([token.text for token in tokens_of(text)], 0)
    return None if found is None else found.value


@given(st.integers(1, 999_999))
def test_words_and_digits_are_one_number(number: int) -> None:
    assert first_number(spelt(number)) == number
    assert first_number(str(number)) == number
    assert first_number(f"{number:,}") == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50k", Fraction(50_000)),
        ("3.5", Fraction(7, 2)),
        ("2,5", Fraction(5, 2)),
        ("1/8", Fraction(1, 8)),
        ("one eighth", Fraction(1, 8)),
        ("two thirds", Fraction(2, 3)),
        ("3rd", Fraction(3)),
        ("third", Fraction(3)),
        ("twenty first", Fraction(21)),
        ("a hundred", Fraction(100)),
        ("twice", Fraction(2)),
        ("a dozen", None),
        ("dozen", Fraction(12)),
        ("tide", None),
    ],
)
def test_numbers_in_other_forms(text: str, number: Fraction | None) -> None:
    assert first_number(text) == number


@given(st.text(min_size=1, max_size=40))
def test_any_text_can_be_looked_at(text: str) -> None:
    words = [token.text for token in tokens_of(text)]
    for place in range(len(words)):
        found = number_at(words, place)
        assert found is None or 1 <= found.length <= len(words) - place


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        ("5 pm", 0, ("17:00", 2)),
        ("17:00", 0, ("17:00", 1)),
        ("12 am", 0, ("00:00", 2)),
        ("noon", 0, ("12:00", 1)),
        ("24:00", 0, ("00:00", 1)),
        ("at 7.30 in the morning", 1, ("07:30", 4)),
        ("by 8 in the evening", 1, ("20:00", 4)),
        ("at 3 at night", 1, ("03:00", 3)),
        ("at 11 at night", 1, ("23:00", 3)),
        ("at 12 at night", 1, ("00:00", 3)),
        ("8 in the evening", 0, None),
        ("at 60 at night", 1, None),
        ("at 1.5 in the morning", 1, None),
        ("5 apples", 0, None),
        ("7.30", 0, None),
        ("99:99", 0, None),
    ],
)
def test_times_of_day(text: str, start: int, found: tuple[str, int] | None) -> None:
    assert time_of_day(text.split(), start) == found


def test_a_year_is_twelve_months() -> None:
    assert length_of_time(Fraction(1), "year") == length_of_time(Fraction(12), "month")
    assert length_of_time(Fraction(2), "day") == length_of_time(Fraction(48), "hour")
    assert length_of_time(Fraction(30), "day") != length_of_time(Fraction(1), "month")
    assert length_of_time(Fraction(1), "metre") is None


@given(st.fractions(min_value=0, max_value=10**6, max_denominator=100))
def test_a_number_is_shown_plainly(value: Fraction) -> None:
    assert float(plain(value)) == pytest.approx(float(value), rel=1e-4, abs=1e-6)
