"""Where it is kept how honest each tenant's hits were: one message per tenant, fenced.

The stream is HONESTY. A write names the sequence that it follows, so that of two processes which
count at the same time neither undoes the other.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.cache.honesty import HONESTY_VERSION, Record
from tidegate.chassis.jetstream import (
    WRONG_LAST_SEQUENCE,
    JetStream,
    JetStreamError,
    NoAnswerError,
    RefusedError,
    Stored,
)
from tidegate.contracts.events import UNDECODABLE
from tidegate.contracts.subjects import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    HONESTY_ALL,
    HONESTY_STREAM,
    honesty_subject,
)

_TRIES: Final = 2


class _Versioned(msgspec.Struct):
    v: int = HONESTY_VERSION


_decoder = msgspec.json.Decoder(Record)
_version_decoder = msgspec.json.Decoder(_Versioned)
_encoder = msgspec.json.Encoder()


class HonestyAwayError(Exception):
    """NATS does not answer, or has no such stream yet; a write may be there all the same."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is stored of a tenant; record None: nothing that this release can read.

    `newer`: a newer release wrote it, and it is not to be written over.
    """

    tenant: str
    record: Record | None
    sequence: int
    newer: bool = False


class HonestyStore:
    """Reads and writes records."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def put(self, tenant: str, record: Record, base: int) -> Kept | None:
        """Stores a record if the tenant's last is still that of sequence `base`.

        Returns it as it is stored; None where another was quicker.

        Raises:
            HonestyAwayError: which of both is not known.
        """
        stamped = msgspec.structs.replace(record, stamp=secrets.token_hex(8))
        payload = _encoder.encode(stamped)
        fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(base)}
        error: JetStreamError | None = None
        for _ in range(_TRIES):
            try:
                sequence = await self._jetstream.publish(honesty_subject(tenant), payload, fence)
                return Kept(tenant, stamped, sequence)
            except NoAnswerError as lost:
                # The same bytes with the same fence: if they are stored already, that is found.
                error = lost
            except RefusedError as refusal:
                if refusal.code == WRONG_LAST_SEQUENCE:
                    kept = await self.last(tenant)
                    return kept if kept.record == stamped else None
                error = refusal
        raise HonestyAwayError(str(error)) from error

    async def last(self, tenant: str) -> Kept:
        """The tenant's record, from the stream's leader; sequence 0: there is none.

        Raises:
            HonestyAwayError: nothing is known.
        """
        try:
            stored = await self._jetstream.last(HONESTY_STREAM, honesty_subject(tenant))
        except JetStreamError as error:
            raise HonestyAwayError(str(error)) from error
        return Kept(tenant, None, 0) if stored is None else _kept(stored)

    async def after(self, sequence: int) -> list[Kept]:
        """All records stored after a sequence, in order, from any replica: maybe stale.

        Raises:
            HonestyAwayError: nothing is known.
        """
        kept: list[Kept] = []
        try:
            while True:
                batch = await self._jetstream.direct_batch(
                    HONESTY_STREAM, HONESTY_ALL, sequence + 1
                )
                kept += (_kept(stored) for stored in batch.messages)
                if not batch.messages or not batch.pending:
                    return kept
                sequence = batch.messages[-1].sequence
        except JetStreamError as error:
            raise HonestyAwayError(str(error)) from error


def _kept(stored: Stored) -> Kept:
    tenant = stored.subject.rsplit(".", 1)[-1]
    try:
        if _version_decoder.decode(stored.payload).v > HONESTY_VERSION:
            return Kept(tenant, None, stored.sequence, newer=True)
        return Kept(tenant, _decoder.decode(stored.payload), stored.sequence)
    except UNDECODABLE:
        # An operator's, who had it forgotten by an empty message.
        return Kept(tenant, None, stored.sequence)
