"""Parameters beyond the standard ones: taken in with a request, and let through by its route."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from tidegate.contracts.json_body import DEEPEST, decode_body, is_deep, too_deep, unsupported

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)
_encoder = msgspec.json.Encoder(order="sorted")


def extra_members(
    body: bytes | msgspec.Raw, known: Collection[str], *, path: str = ""
) -> dict[str, Any]:
    """The members of an object, decoded already, whose names are not among those `known`.

    Raises:
        InvalidRequest: the value of one cannot be taken.
    """
    extra = {}
    for name, value in _object_decoder.decode(body).items():
        if name in known:
            continue
        where = f"{path}.{name}".strip(".")
        extra[name] = decode_body(_any_decoder, value, path=where)
        if is_deep(extra[name], DEEPEST):
            raise too_deep(where)
    return extra


def require_offered(extra: Mapping[str, Any], offered: Collection[str], *, path: str = "") -> None:
    """Returns if all extra members are among those that the model's route lets through.

    Raises:
        InvalidRequest: UNSUPPORTED_FIELD, with the first that is not.
    """
    for name in extra:
        if name not in offered:
            raise unsupported(f"{path}.{name}".strip("."))


def encode_with(request: msgspec.Struct, extra: Mapping[str, Any]) -> bytes:
    """A request with its extra members as JSON, all keys sorted."""
    encoded = _encoder.encode(request)
    if not extra:
        return encoded
    more = {name: msgspec.Raw(_encoder.encode(value)) for name, value in extra.items()}
    return _encoder.encode(_object_decoder.decode(encoded) | more)
