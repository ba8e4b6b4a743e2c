"""Where it is kept how honest each tenant's hits were: one message per tenant, fenced.

The stream is HONESTY. A write names the sequence that it follows, so that of two processes which
count at the same time neither undoes the other.
"""

import secrets
from dataclasses import dataclass

import msgspec

from tidegate.cache.honesty import HONESTY_VERSION, Record
from tidegate.chassis.fenced import put_fenced, stored_after
from tidegate.chassis.jetstream import JetStream, JetStreamError, Stored
from tidegate.contracts.events import UNDECODABLE
from tidegate.contracts.subjects import HONESTY_ALL, HONESTY_STREAM, honesty_subject


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
        try:
            sequence = await put_fenced(self._jetstream, honesty_subject(tenant), payload, base)
        except JetStreamError as error:
            raise HonestyAwayError(str(error)) from error
        if sequence is not None:
            return Kept(tenant, stamped, sequence)
        kept = await self.last(tenant)
        return kept if kept.record == stamped else None

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
        try:
            stored = await stored_after(self._jetstream, HONESTY_STREAM, HONESTY_ALL, sequence)
        except JetStreamError as error:
            raise HonestyAwayError(str(error)) from error
        return [_kept(each) for each in stored]


def _kept(stored: Stored) -> Kept:
    tenant = stored.subject.rsplit(".", 1)[-1]
    try:
        if _version_decoder.decode(stored.payload).v > HONESTY_VERSION:
            return Kept(tenant, None, stored.sequence, newer=True)
        return Kept(tenant, _decoder.decode(stored.payload), stored.sequence)
    except UNDECODABLE:
        # An operator's, who had it forgotten by an empty message.
        return Kept(tenant, None, stored.sequence)
