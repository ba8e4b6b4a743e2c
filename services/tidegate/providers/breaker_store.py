"""Where the fleet's circuit breakers are kept: one message per breaker, written by compare-and-set.

The stream is that of the key-value bucket `tidegate_breakers`; the server republishes what it has
stored, so that nobody hears of a state that lost its race.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

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
    BREAKERS_ALL,
    BREAKERS_STREAM,
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    breaker_subject,
)
from tidegate.providers.breaker import Circuit

_TRIES: Final = 2
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
        fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(base)}
        error: JetStreamError | None = None
        for _ in range(_TRIES):
            try:
                return Kept(circuit, await self._jetstream.publish(subject, payload, fence))
            except NoAnswerError as lost:
                # The same bytes with the same fence: if they are stored already, that is found.
                error = lost
            except RefusedError as refusal:
                if refusal.code == WRONG_LAST_SEQUENCE:
                    return await self._last(subject)
                error = refusal
        raise StoreAwayError(str(error)) from error

    async def after(self, sequence: int) -> list[Kept]:
        """The circuits stored after a sequence, in order, from any replica: maybe stale.

        Raises:
            StoreAwayError: nothing is known.
        """
        kept: list[Kept] = []
        try:
            while True:
                batch = await self._jetstream.direct_batch(
                    BREAKERS_STREAM, BREAKERS_ALL, sequence + 1
                )
                kept += (_kept(message) for message in batch.messages)
                if not batch.messages or not batch.pending:
                    return kept
                sequence = batch.messages[-1].sequence
        except JetStreamError as error:
            raise StoreAwayError(str(error)) from error

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
