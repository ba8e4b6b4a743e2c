"""JSON that a caller sent, decoded strictly: whatever the bytes are, a value or a refusal."""

import re
from typing import Final, TypeVar

import msgspec

from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.events import UNDECODABLE

# Levels of arrays and objects inside a field. Far above any real schema; far below what one process
# could decode and the next, deeper in its own calls, could not.
DEEPEST: Final = 100

# Of what the caller wrote, in an error: names and values may be as long as the body.
_LONGEST_ECHO: Final = 200

T = TypeVar("T")

_AT = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")


def decode_body(
    decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, *, path: str = ""
) -> T:
    """The value of a body of JSON; `path` is where it stands in the caller's request.

    Raises:
        InvalidRequest: names the field, with UNSUPPORTED_FIELD for one that is not offered.
    """
    try:
        return decoder.decode(body)
    except RecursionError as error:
        raise too_deep(path) from error
    except msgspec.ValidationError as error:
        raise _invalid(str(error), path) from error
    except UNDECODABLE as error:
        raise InvalidRequest("the body is not JSON in UTF-8", field=path or None) from error


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
        field = f"{where}.{unknown['name']}".strip(".")[:_LONGEST_ECHO]
        return InvalidRequest(
            f"the field {field} is not supported", reason=Reason.UNSUPPORTED_FIELD, field=field
        )
    if missing := _MISSING.match(what):
        field = f"{where}.{missing['name']}".strip(".")
        return InvalidRequest(f"{field} is required", field=field)
    return InvalidRequest(f"{where or 'the body'}: {what[:_LONGEST_ECHO]}", field=where or None)
