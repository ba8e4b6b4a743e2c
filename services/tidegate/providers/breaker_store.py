"""Where the fleet's circuit breakers are kept: one message per breaker, written by compare-and-set.

The stream is that of the key-value bucket `tidegate_breakers`; the server republishes what it has
stored, so that nobody hears of a state that lost its race.
"""

from dataclasses import dataclass

import msgspec

from tidegate.chassis.fenced import put_fenced, stored_after
from tidegate.chassis.jetstream import JetStream, JetStreamError, Stored
from tidegate.contracts.events import UNDECODABLE
from tidegate.contracts.subjects import BREAKERS_ALL, BREAKERS_STREAM, breaker_subject
from tidegate.providers.breaker import Circuit

_decoder = msgspec.json.Decoder(Circuit)


class StoreAwayError(Exception):
    """The store did not answer, or cannot take it now; a write may be there all the same."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds of one breaker; None and 0 for nothing, None for nothing readable."""

    circuit: Circuit | None
    sequence: int


class BreakerStore:
    """Reads and writes circuits."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def put(self, circuit: Circuit, base: int) -> Kept:
        """Stores a circuit if the last of its breaker is still that of sequence `base`.

        Returns what is there then: the circuit given, or that of another who was first.

        Raises:
            StoreAwayError: which of them is not known.
        """
        subject = breaker_subject(circuit.provider, circuit.model)
        payload = msgspec.json.encode(circuit)
        try:
            sequence = await put_fenced(self._jetstream, subject, payload, base)
        except JetStreamError as error:
            raise StoreAwayError(str(error)) from error
        return await self._last(subject) if sequence is None else Kept(circuit, sequence)

    async def after(self, sequence: int) -> list[Kept]:
        """The circuits stored after a sequence, in order, from any replica: maybe stale.

        Raises:
            StoreAwayError: nothing is known.
        """
        try:
            stored = await stored_after(self._jetstream, BREAKERS_STREAM, BREAKERS_ALL, sequence)
        except JetStreamError as error:
            raise StoreAwayError(str(error)) from error
        return [_kept(message) for message in stored]

    async def _last(self, subject: str) -> Kept:
        try:
            message = await self._jetstream.last(BREAKERS_STREAM, subject)
        except JetStreamError as error:
            raise StoreAwayError(str(error)) from error
        return Kept(None, 0) if message is None else _kept(message)


def decode_circuit(payload: bytes) -> Circuit | None:
    """A circuit as it is stored; None for a key that an operator deleted, or a newer release's."""
    try:
        return _decoder.decode(payload)
    except UNDECODABLE:
        return None


def _kept(message: Stored) -> Kept:
    return Kept(decode_circuit(message.payload), message.sequence)
