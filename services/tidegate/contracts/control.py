"""The durable request to cancel a job, as it stands in CONTROL."""

from typing import Final

import msgspec

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import UNDECODABLE

CONTROL_VERSION: Final = 1


class CancelRecord(msgspec.Struct, frozen=True):
    """Which job is meant: request ids come back, so that the id alone does not tell.

    `created_ms` is JetStream's time of storing the job's message.
    """

    created_ms: int
    reason: str = Reason.CANCELLED_BY_CALLER
    v: int = msgspec.field(default_factory=lambda: CONTROL_VERSION)


_decoder = msgspec.json.Decoder(CancelRecord)
_encoder = msgspec.json.Encoder()


def encode_cancel(created_ms: int) -> bytes:
    """The record that cancels the job whose message was stored then."""
    return _encoder.encode(CancelRecord(created_ms))


def cancels(payload: bytes, created_ms: int) -> bool:
    """Whether a record means the job whose message was stored then; an unreadable one does not."""
    try:
        return _decoder.decode(payload).created_ms == created_ms
    except UNDECODABLE:
        return False
