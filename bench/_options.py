"""Types of the benches' options: what does not fit is refused before anything is started."""

import argparse
from collections.abc import Callable, Collection


def count(given: str) -> int:
    """A whole number, 1 or more."""
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def amount(given: str) -> float:
    """A number above zero."""
    number = float(given)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def counts(given: str) -> tuple[int, ...]:
    """Whole numbers of 1 or more, with commas between them."""
    return tuple(count(each) for each in given.split(","))


def amounts(given: str) -> tuple[float, ...]:
    """Numbers above zero, with commas between them."""
    return tuple(amount(each) for each in given.split(","))


def some_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Names out of those that are known, with commas between them."""

    def names(given: str) -> tuple[str, ...]:
        chosen = tuple(given.split(","))
        if unknown := [each for each in chosen if each not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return chosen

    return names
