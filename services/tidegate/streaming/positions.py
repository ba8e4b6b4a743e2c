"""Where an SSE stream begins, from the request's query and headers."""

import re
from collections.abc import Iterable, Mapping

from tidegate.chassis.http_request import check_query
from tidegate.contracts.errors import InvalidRequest
from tidegate.streaming.requests import LARGEST_SEQUENCE

_NUMBER = re.compile(r"[0-9]{1,16}")


def start_of(query: Iterable[tuple[str, str]], headers: Mapping[str, str]) -> int:
    """The sequence after which the client wants events.

    `Last-Event-ID` goes before `after_sequence`: a browser that reconnects repeats the URL it was
    given at first, and adds the header. An empty header is what a browser has before any event.

    Raises:
        InvalidRequest: neither a number from 0, or a parameter that is not offered.
    """
    asked = check_query(query, offered=("after_sequence",)).get("after_sequence")
    last = headers.get("Last-Event-ID", "").strip()
    after = 0 if asked is None else _number(asked, "after_sequence")
    return _number(last, "Last-Event-ID") if last else after


def _number(text: str, field: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_SEQUENCE:
        raise InvalidRequest(
            f"{field} must be a whole number from 0: the last sequence that you have", field=field
        )
    return int(text)
