"""A job that failed for good, kept with the reason so that it can be replayed."""

from typing import Final

import msgspec

from tidegate.contracts.events import UNDECODABLE, CorruptLogError
from tidegate.contracts.jobs import QueuedJob

DEAD_LETTER_VERSION: Final = 1


def _version() -> int:
    return DEAD_LETTER_VERSION


class DeadLetter(msgspec.Struct, frozen=True):
    """The message in DLQ: the job as it was queued, and how it ended.

    `attempts` were begun in all; `created_ms` and `failed_ms` are epoch milliseconds.
    """

    job: QueuedJob
    reason: str
    message: str
    retriable: bool
    attempts: int
    created_ms: int
    failed_ms: int
    # By factory, so that the version is written although it is the default.
    v: int = msgspec.field(default_factory=_version)


_decoder = msgspec.json.Decoder(DeadLetter)
_encoder = msgspec.json.Encoder()


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """The message's payload."""
    return _encoder.encode(letter)


def decode_dead_letter(payload: bytes) -> DeadLetter:
    """The dead letter of a payload.

    Raises:
        CorruptLogError: not a dead letter, or one of a format newer than this release.
    """
    try:
        letter = _decoder.decode(payload)
    except UNDECODABLE as error:
        raise CorruptLogError(f"not a dead letter: {error}") from error
    if letter.v > DEAD_LETTER_VERSION:
        raise CorruptLogError(f"dead letter format {letter.v} is newer than {DEAD_LETTER_VERSION}")
    return letter
