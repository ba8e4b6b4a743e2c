"""JSON that a caller sent, decoded strictly: whatever the bytes are, a value or a refusal."""

import json
import re
from typing import Any, Final, TypeVar

import msgspec

from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.events import UNDECODABLE

# Levels of arrays and objects inside a field. Far above any real schema; far below what one process
# could decode and the next, deeper in its own calls, could not.
DEEPEST: Final = 100

# Values in one body. To read one takes about 2 microseconds, in which this process does nothing
# else. Bytes do not bound that: the same 8 MiB hold one text, or millions of empty lists.
MOST_VALUES: Final = 100_000

# Of what the caller wrote, in an error: names and values may be as long as the body.
_LONGEST_ECHO: Final = 200

T = TypeVar("T")

_AT = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")


def decode_body(
    decoder: msgspec.json.Decoder[T],
    body: bytes | msgspec.Raw,
    *,
    path: str = "",
    most: int = MOST_VALUES,
) -> T:
    """The value of a body of JSON; `path` is where it stands in the caller's request.

    It may hold about `most` values.

    Raises:
        InvalidRequest: names the field, with UNSUPPORTED_FIELD for one that is not offered.
    """
    _require_few_values(body, path, most)
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise too_deep(path) from error
    except msgspec.ValidationError as error:
        raise _invalid(str(error), path) from error
    except UNDECODABLE as error:
        raise _no_json(path) from error


def _require_few_values(body: bytes | msgspec.Raw, path: str, most: int) -> None:
    """Counts what separates values outside of texts, without decoding; takes 3 ms for 1 MiB."""
    text = bytes(body)
    if len(text) <= 2 * most:
        return
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Each value may have a key beside it, and each text two quotes.
    many = bare.count(b'"') > 4 * most
    if not many:
        outside = b"".join(bare.split(b'"')[::2])
        many = sum(map(outside.count, (b",", b"[", b"{"))) > most
    if many:
        raise InvalidRequest(
            f"{path or 'the body'} holds more than {most} values", field=path or None
        )


def _no_json(path: str) -> InvalidRequest:
    return InvalidRequest("the body is not JSON in UTF-8", field=path or None)


def require_unique_keys(body: bytes | msgspec.Raw, *, path: str = "") -> None:
    """Returns if no object of a body that was decoded already has a key twice.

    Which of two values counts is a choice that every reader makes for itself: what was checked here
    would not be what the provider obeys. Costs 7 µs for each KiB of a usual body.

    Raises:
        InvalidRequest: names the key.
    """
    try:
        text = bytes(body).decode()
        json.loads(text, object_pairs_hook=_require_unique, parse_int=len, parse_float=len)
    except RecursionError as error:
        raise too_deep(path) from error
    except _RepeatedKeyError as error:
        # The key may hold half a surrogate pair, which cannot be sent.
        name = str(error).encode(errors="replace").decode()
        field = f"{path}.{name}".strip(".")[:_LONGEST_ECHO]
        raise InvalidRequest(f"the field {field} is given twice", field=field) from error
    except ValueError as error:
        # In a part that was not looked into yet.
        raise _no_json(path) from error


class _RepeatedKeyError(Exception):
    pass


def _require_unique(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise _RepeatedKeyError(name)
        names.add(name)


def is_deep(value: object, levels: int) -> bool:
    """Whether arrays and objects inside `value` go deeper than so many levels."""
    if isinstance(value, msgspec.Struct):
        return any(is_deep(getattr(value, name), levels) for name in value.__struct_fields__)
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deep(each, levels - 1) for each in inner)


def unsupported(field: str) -> InvalidRequest:
    """The refusal of a field that is not offered."""
    field = field[:_LONGEST_ECHO]
    return InvalidRequest(
        f"the field {field} is not supported", reason=Reason.UNSUPPORTED_FIELD, field=field
    )


def too_deep(field: str) -> InvalidRequest:
    """The refusal of what no process could be sure to read again."""
    return InvalidRequest(
        f"{field or 'the body'} is nested deeper than {DEEPEST} levels", field=field or None
    )


def _invalid(complaint: str, path: str) -> InvalidRequest:
    """A decoder's complaint as the caller's error, with the dotted path of the field at fault."""
    match = _AT.match(complaint)
    what, inner = (match["what"], match["path"] or "") if match else (complaint, "")
    where = (path + inner).strip(".")
    if unknown := _UNKNOWN.match(what):
        return unsupported(f"{where}.{unknown['name']}".strip("."))
    if missing := _MISSING.match(what):
        field = f"{where}.{missing['name']}".strip(".")
        return InvalidRequest(f"{field} is required", field=field)
    return InvalidRequest(f"{where or 'the body'}: {what[:_LONGEST_ECHO]}", field=where or None)
