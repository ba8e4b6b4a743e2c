"""A hit, as a model would have said it: in pieces of a few words, each a delta of the log."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from tidegate.contracts.events import Delta
from tidegate.worker.answer import Answered
from tidegate.worker.cache_client import Found
from tidegate.worker.course import Course

# Up to three words, or as much of a text without spaces; together all of any text.
_PIECE: Final = re.compile(r"\s{0,16}\S{1,24}(?:\s{1,4}\S{1,24}){0,2}|\s{1,16}")
# So many go out together; then others have their turn, and the log its time.
_AT_ONCE: Final = 64


def pieces(text: str) -> Iterator[str]:
    """The text, piece by piece: nothing is lost between them."""
    return (found.group() for found in _PIECE.finditer(text))


async def replay(course: Course, found: Found) -> Answered:
    """Gives the job a found answer, as an attempt that calls nobody.

    Raises:
        StoppedError, FencedError, UnsettledError, OutputTooLongError: as `Course.begin_free` and
            the log's writer do.
    """
    meter = await course.begin_free(found.mark)
    rest = pieces(found.text)
    while batch := list(islice(rest, _AT_ONCE)):
        for piece in batch:
            meter.take(Delta(piece))
        await course.caught_up()
    return Answered([found.finish_reason], found.saved_nano_usd)
