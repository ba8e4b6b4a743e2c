"""The question whether anybody reads a job, and its answer, as processes of the fleet pass them."""

from typing import Final

import msgspec

from tidegate.contracts.events import UNDECODABLE

PRESENCE_VERSION: Final = 1


def _version() -> int:
    return PRESENCE_VERSION


class Asked(msgspec.Struct, frozen=True):
    """Who has a reader, or had one within so many milliseconds, is to answer."""

    within_ms: int
    v: int = msgspec.field(default_factory=_version)


class Told(msgspec.Struct, frozen=True):
    """Milliseconds since the last reader left; 0: there is one."""

    idle_ms: int
    v: int = msgspec.field(default_factory=_version)


_asked_decoder = msgspec.json.Decoder(Asked)
_told_decoder = msgspec.json.Decoder(Told)
_encoder = msgspec.json.Encoder()


def encode_asked(within_ms: int) -> bytes:
    """The question."""
    return _encoder.encode(Asked(within_ms))


def decode_asked(payload: bytes) -> Asked:
    """The question of a payload; of one that cannot be read, the narrowest."""
    try:
        return _asked_decoder.decode(payload)
    except UNDECODABLE:
        return Asked(0)


def encode_told(idle_ms: int) -> bytes:
    """The answer."""
    return _encoder.encode(Told(idle_ms))


def decode_told(payload: bytes) -> Told:
    """The answer of a payload; one that cannot be read says that there is a reader.

    Whoever answers has one, and to go on with a job is always safe.
    """
    try:
        return _told_decoder.decode(payload)
    except UNDECODABLE:
        return Told(0)
