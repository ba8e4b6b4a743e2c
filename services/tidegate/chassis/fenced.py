"""Streams that keep one message per subject, each written by compare-and-set."""

from typing import Final

from tidegate.chassis.jetstream import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    WRONG_LAST_SEQUENCE,
    JetStream,
    JetStreamError,
    NoAnswerError,
    RefusedError,
    Stored,
)

_TRIES: Final = 2


async def put_fenced(jetstream: JetStream, subject: str, payload: bytes, base: int) -> int | None:
    """Stores a message if its subject's last is still that of sequence `base`; its sequence.

    None: there is another, which may be this one, stored by a try that was not answered.

    Raises:
        NoAnswerError, RefusedError: it is not known whether it is stored.
    """
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(base)}
    error: JetStreamError | None = None
    for _ in range(_TRIES):
        try:
            return await jetstream.publish(subject, payload, fence)
        except NoAnswerError as lost:
            # The same bytes with the same fence: if they are stored already, that is found.
            error = lost
        except RefusedError as refusal:
            if refusal.code == WRONG_LAST_SEQUENCE:
                return None
            error = refusal
    assert error is not None  # noqa: S101
    raise error


async def stored_after(
    jetstream: JetStream, stream: str, subjects: str, sequence: int
) -> list[Stored]:
    """All messages stored after a sequence, in order, from any replica: maybe stale.

    Raises:
        NoAnswerError, RefusedError: nothing is known.
    """
    found: list[Stored] = []
    while True:
        batch = await jetstream.direct_batch(stream, subjects, sequence + 1)
        found += batch.messages
        if not batch.messages or not batch.pending:
            return found
        sequence = batch.messages[-1].sequence
