"""What any HTTP request of ours may carry beside its body: one key, and a query that is obeyed."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tidegate.contracts.errors import InvalidRequest, Reason

_LOOKS_LIKE_A_KEY = re.compile(r"(^|[_-])(api_?key|key|token|auth|authorization|secret)$", re.I)
_KEY_VALUE = re.compile(r"(bearer\s+)?(tg_|tidegate-dev|eyJ[\w-]+\.)", re.I)
_NO_KEYS: Final = "a key does not belong in a URL: send it as 'Authorization: Bearer <key>'"
_LONGEST_NAME: Final = 64


def check_query(query: Iterable[tuple[str, str]], *, offered: Sequence[str] = ()) -> dict[str, str]:
    """The parameters of a URL, each of them offered and there once.

    Others are refused, never ignored, and above all keys, for URLs are logged on their way.

    Raises:
        InvalidRequest: names the parameter, and never its value.
    """
    found: dict[str, str] = {}
    for name, value in query:
        if _KEY_VALUE.match(value) or (name not in offered and _LOOKS_LIKE_A_KEY.search(name)):
            raise InvalidRequest(_NO_KEYS)
        if name not in offered:
            raise InvalidRequest(
                "the URL has a parameter that is not supported",
                reason=Reason.UNSUPPORTED_FIELD,
                field=name[:_LONGEST_NAME],
            )
        if name in found:
            raise InvalidRequest(f"{name} is given twice", field=name)
        found[name] = value
    return found


def only_value(name: str, values: Sequence[str]) -> str | None:
    """The value of the header `name`, of which a request may have one.

    Raises:
        InvalidRequest: it has several.
    """
    if len(values) > 1:
        raise InvalidRequest(f"there is more than one {name} header", field=name)
    return values[0] if values else None
