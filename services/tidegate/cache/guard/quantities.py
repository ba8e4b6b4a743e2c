"""Numbers, times of day and durations in a question, each in one form."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_CARDINALS: Final = {word: value for value, word in enumerate(_ONES)} | {
    word: 20 + 10 * place for place, word in enumerate(_TENS)
}
_ORDINALS: Final = {
    **{"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7},
    **{"eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "twentieth": 20},
    **{word + "th": _CARDINALS[word] for word in _ONES[13:]},
    "thirtieth": 30,
}
_SCALES: Final = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
_SHORT_SCALES: Final = {"k": 1_000, "m": 10**6, "mio": 10**6, "mn": 10**6, "bn": 10**9} | _SCALES
_OTHERS: Final = {"dozen": 12, "once": 1, "twice": 2}
_ORDINAL_ENDINGS: Final = frozenset({"st", "nd", "rd", "th"})
_PARTS: Final = {"half": 2, "halve": 2, "quarter": 4}
_NAMED_TIMES: Final = {"midnight": "00:00", "noon": "12:00", "midday": "12:00"}
# Parts of the day, and the hours of the afternoon and the morning that belong to each.
_PARTS_OF_DAY: Final = {
    ("in", "the", "morning"): (range(0), range(1, 12)),
    ("in", "the", "afternoon"): (range(12, 19), range(0)),
    ("in", "the", "evening"): (range(16, 24), range(0)),
    ("at", "night"): (range(18, 24), range(6)),
}
# What makes an hour of a number before such a part: a dose in the evening is none.
_BEFORE_AN_HOUR: Final = frozenset(
    ["at", "by", "until", "till", "from", "before", "after", "since", "around", "about"]
)
# What is the same length of time however it is written, in months and in seconds.
_MONTHS: Final = {"month": 1, "year": 12, "decade": 120, "century": 1200}
_SECONDS: Final = {
    **{"second": 1, "minute": 60, "hour": 3600, "day": 86_400},
    **{"week": 604_800, "fortnight": 1_209_600},
}


class Number(NamedTuple):
    """A number of `length` tokens; `ordinal` where it was written as one."""

    value: Fraction
    length: int
    ordinal: bool = False


def number_at(words: Sequence[str], start: int) -> Number | None:
    """The longest number that begins at a token: `1,000`, `50 k`, `3rd`, `two thirds`."""
    word = words[start]
    if word[0].isdigit():
        return _written(words, start)
    if word in {"a", "an"} and start + 1 < len(words) and words[start + 1] in _SCALES:
        number = _spelt(words[start + 1 :])
        return None if number is None else number._replace(length=number.length + 1)
    if word in _OTHERS:
        return Number(Fraction(_OTHERS[word]), 1)
    return _spelt(words[start:])


def length_of_time(value: Fraction, unit: str) -> str | None:
    """A duration in one form, `12 months` for `1 year`; None for what is no unit of time."""
    if unit in _MONTHS:
        return f"{plain(value * _MONTHS[unit])} months"
    if unit in _SECONDS:
        return f"{plain(value * _SECONDS[unit])} s"
    return None


def time_of_day(words: Sequence[str], start: int) -> tuple[str, int] | None:
    """A time as `HH:MM`, and how many tokens it takes: `17:00`, `5 pm`, `at 5 in the evening`."""
    word = words[start]
    if word in _NAMED_TIMES:
        return _NAMED_TIMES[word], 1
    after = words[start + 1] if start + 1 < len(words) else ""
    half = after if after in {"am", "pm"} else ""
    hours, colon, minutes = word.partition(":")
    if not (colon or half):
        return _hour_in_part(words, start)
    if not hours.isdigit() or (colon and not minutes.isdigit()):
        return None
    hour, minute = int(hours), int(minutes or 0)
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 24 or minute > 59:
        return None
    hour %= 24
    return f"{hour:02}:{minute:02}", 2 if half else 1


def _hour_in_part(words: Sequence[str], start: int) -> tuple[str, int] | None:
    """`at 7.30 in the morning`, `by 3 at night`: hours of a twelve-hour clock, and no others."""
    if start == 0 or words[start - 1] not in _BEFORE_AN_HOUR:
        return None
    hours, point, minutes = words[start].partition(".")
    if not hours.isdigit() or (point and not (minutes.isdigit() and len(minutes) == 2)):
        return None
    hour, minute = int(hours), int(minutes or 0)
    if not 1 <= hour <= 12 or minute > 59:
        return None
    for part, (late, early) in _PARTS_OF_DAY.items():
        if tuple(words[start + 1 : start + 1 + len(part)]) != part:
            continue
        for of_day, hours_of_part in ((hour % 12 + 12, late), (hour % 12, early)):
            if of_day in hours_of_part:
                return f"{of_day:02}:{minute:02}", 1 + len(part)
    return None


def plain(value: Fraction) -> str:
    """A number for a person's eyes."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def _written(words: Sequence[str], start: int) -> Number | None:
    value = _decimal(words[start])
    if value is None:
        return None
    after = words[start + 1] if start + 1 < len(words) else ""
    if after in _ORDINAL_ENDINGS:
        return Number(value, 2, ordinal=True)
    if after in _SHORT_SCALES:
        return Number(value * _SHORT_SCALES[after], 2)
    return Number(value, 1)


def _decimal(text: str) -> Fraction | None:
    above, slash, below = text.partition("/")
    if slash:
        proper = above.isdigit() and below.isdigit() and 0 < int(above) < int(below) <= 100
        return Fraction(int(above), int(below)) if proper else None
    groups = text.split(",")
    if len(groups) == 2 and len(groups[1]) != 3:
        text = text.replace(",", ".")  # a decimal comma
    try:
        return Fraction(text.replace(",", ""))
    except ValueError:
        return None


def _spelt(words: Sequence[str]) -> Number | None:
    """`two hundred and five`, `twenty first`, `one eighth`."""
    total = current = place = 0
    while place < len(words):
        word = words[place]
        if word in _SCALES:
            current = (current or 1) * _SCALES[word]
            if _SCALES[word] >= 1_000:
                total, current = total + current, 0
        elif word in _CARDINALS and _may_add(current, _CARDINALS[word]):
            current += _CARDINALS[word]
        elif word != "and" or not _is_joined(words, place):
            break
        place += 1
    value = Fraction(total + current)
    ending = words[place] if place < len(words) else ""
    if place and (part := _part(ending)) and 0 < value < part and value < 20:
        return Number(value / part, place + 1)
    if ending in _ORDINALS and (place == 0 or _may_add(current, _ORDINALS[ending])):
        return Number(value + _ORDINALS[ending], place + 1, ordinal=True)
    return Number(value, place) if place else None


def _may_add(current: int, value: int) -> bool:
    """Whether a number word goes on with the number before it: `twenty one`, not `one two`."""
    return current % 100 == 0 or (current % 100 >= 20 and current % 10 == 0 and value < 10)


def _is_joined(words: Sequence[str], place: int) -> bool:
    after = words[place + 1] if place + 1 < len(words) else ""
    return place > 0 and words[place - 1] in _SCALES and (after in _CARDINALS or after in _ORDINALS)


def _part(word: str) -> int:
    """What a part is one of so many of: 3 for `third` and `thirds`; 0 for no part."""
    single = word.removesuffix("s")
    if single in _PARTS:
        return _PARTS[single]
    value = _ORDINALS.get(single, 0)
    return value if value > 2 else 0
