"""The core of dead letters: what can be done with jobs that failed for good.

Like `Jobs`, it knows no transport, and another tenant's letter does not exist here.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from tidegate.chassis.jetstream import JetStream, JetStreamError, Stored
from tidegate.chassis.keyring import Caller
from tidegate.contracts.dead_letter import DeadLetter, decode_dead_letter
from tidegate.contracts.errors import InternalError, NotFound, Reason, Unavailable
from tidegate.contracts.events import CorruptLogError
from tidegate.contracts.jobs import JobView, job_id_for
from tidegate.contracts.subjects import (
    DLQ_STREAM,
    dead_letter_anywhere,
    dead_letters_of_tenant,
    is_job_id,
)
from tidegate.eventlog.lookup import find_job, view_job
from tidegate.gateway.creation import Creator
from tidegate.gateway.listing import (
    READ_BYTES,
    Phase,
    Position,
    decode_token,
    encode_token,
    page_size_of,
)
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.store_errors import store_errors

_log = structlog.stdlib.get_logger(module=__name__)

_PHASES: Final = (Phase.DEAD_LETTERS,)


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Dead letters, and the token of the next page, empty on the last."""

    letters: list[DeadLetter]
    next_page_token: str


class DeadLetters:
    """What callers may do with them."""

    def __init__(self, jetstream: JetStream, creator: Creator, metrics: GatewayMetrics) -> None:
        self._jetstream = jetstream
        self._creator = creator
        self._metrics = metrics

    async def page(self, caller: Caller, page_size: int, page_token: str) -> LetterPage:
        """At most `page_size` of the tenant's, oldest first; maybe fewer and still a next page.

        Raises:
            InvalidRequest: size or token are not valid.
            Unavailable: JetStream does not answer.
        """
        size, start = page_size_of(page_size), decode_token(page_token, _PHASES).sequence
        with store_errors():
            batch = await self._jetstream.direct_batch(
                DLQ_STREAM, dead_letters_of_tenant(caller.tenant), start, size, max_bytes=READ_BYTES
            )
        letters = [letter for stored in batch.messages if (letter := self._readable(stored))]
        if not (batch.messages and batch.pending):
            return LetterPage(letters, "")
        after = Position(Phase.DEAD_LETTERS, batch.messages[-1].sequence + 1)
        return LetterPage(letters, encode_token(after))

    async def get(self, caller: Caller, job_id: str) -> DeadLetter:
        """A job's dead letter.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND.
            Unavailable, InternalError: it cannot be read now, or at all.
        """
        return _decoded(await self._require(caller, job_id))

    async def replay(self, caller: Caller, job_id: str) -> JobView:
        """The job that asks the same once more; the letter is gone once that is accepted.

        The new job's id comes of the failed one, so that however often and wherever this is
        repeated, there is one, and it is found again for as long as the failed job is known.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND, or MODEL_NOT_FOUND, the letter being kept.
            FailedPrecondition, ResourceExhausted: as `Creator.replay`, the letter being kept.
            Unavailable: repeat; with a job's id, that job was accepted and the letter is there yet.
        """
        try:
            stored = await self._require(caller, job_id)
        except NotFound:
            if known := await self._replayed(caller, job_id):
                return known
            raise
        letter = _decoded(stored)
        request_id = _request_id(job_id, letter.created_ms)
        job = await self._creator.replay(caller, letter.job, request_id)
        try:
            await remove_letters(self._jetstream, caller.tenant, job_id, upto=stored.sequence)
        except JetStreamError as error:
            raise Unavailable(
                f"replayed as {job.id}, but the dead letter is still there: repeat",
                retry_after=1.0,
                job_id=job.id,
            ) from error
        return job

    async def delete(self, caller: Caller, job_id: str) -> None:
        """Removes a job's dead letter.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND.
            Unavailable: it may or may not be gone; repeat.
        """
        stored = await self._require(caller, job_id)
        with store_errors():
            await remove_letters(self._jetstream, caller.tenant, job_id, upto=stored.sequence)

    async def purge(self, caller: Caller) -> int:
        """Removes all of the tenant's; returns how many there were.

        Raises:
            Unavailable: some or all may be gone; repeat.
        """
        with store_errors():
            return await _purge(self._jetstream, {"filter": dead_letters_of_tenant(caller.tenant)})

    async def _require(self, caller: Caller, job_id: str) -> Stored:
        stored = None
        if is_job_id(job_id):
            with store_errors():
                subject = dead_letter_anywhere(caller.tenant, job_id)
                stored = await self._jetstream.last(DLQ_STREAM, subject)
        if stored is None:
            raise NotFound("there is no such dead letter", reason=Reason.DEAD_LETTER_NOT_FOUND)
        return stored

    async def _replayed(self, caller: Caller, job_id: str) -> JobView | None:
        """The job that an earlier call made of the letter, for one whose answer was lost."""
        with store_errors():
            failed = await find_job(self._jetstream, caller.tenant, job_id)
            if failed is None:
                return None
            request_id = _request_id(job_id, failed.summary.created_ms)
            again = job_id_for(caller.tenant, request_id)
            found = await find_job(self._jetstream, caller.tenant, again)
            if found is None or found.head.deleted:
                return None
            return await view_job(self._jetstream, found)

    def _readable(self, stored: Stored) -> DeadLetter | None:
        try:
            return decode_dead_letter(stored.payload)
        except CorruptLogError:
            # One bad record must not hide all the others.
            self._metrics.unreadable.inc()
            _log.error("left out of a list of dead letters", sequence=stored.sequence)
            return None


async def remove_letters(
    jetstream: JetStream, tenant: str, job_id: str, *, upto: int | None = None
) -> None:
    """Removes a job's dead letters, in whichever queues; `upto` a stream sequence, if given.

    Raises:
        NoAnswerError, RefusedError: not known; it is harmless to repeat.
    """
    asked: dict[str, object] = {"filter": dead_letter_anywhere(tenant, job_id)}
    # JetStream takes the first sequence that is to stay.
    await _purge(jetstream, asked if upto is None else asked | {"seq": upto + 1})


async def _purge(jetstream: JetStream, asked: dict[str, object]) -> int:
    return int((await jetstream.api(f"STREAM.PURGE.{DLQ_STREAM}", asked))["purged"])


def _request_id(job_id: str, created_ms: int) -> str:
    """Names the failed job itself, for a letter may be written twice."""
    return f"replay {job_id} {created_ms}"


def _decoded(stored: Stored) -> DeadLetter:
    try:
        return decode_dead_letter(stored.payload)
    except CorruptLogError as error:
        raise InternalError("the dead letter cannot be read") from error
