"""Messages of sealed logs that a nats-server has brought back.

A seal replaces its log. A nats-server that is killed may build its index anew without what was
replaced having been struck out (nats-server issue 8505; seen by tests/chaos). The seal is still the
log's last message, so no reader sees a difference. But when the seal has run out, or the tombstone
of a deleted job, what it replaced would be the log.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.seal import is_sealed
from tidegate.contracts.subjects import EVENTS_STREAM, logs_of_shard

_MOST_SUBJECTS: Final = 100_000


async def purge_revived(jetstream: JetStream, shard: int) -> int:
    """Purges what stands before the seals of a shard's logs; how many logs had something.

    Raises:
        NoAnswerError, RefusedError: JetStream does not answer, or refuses.
    """
    purged = 0
    async for subject in _with_several_messages(jetstream, logs_of_shard(shard)):
        last = await jetstream.last(EVENTS_STREAM, subject)
        if last is not None and is_sealed(last.payload):
            # Up to the seal and without it, whatever has happened since.
            body = {"filter": subject, "seq": last.sequence}
            await jetstream.api(f"STREAM.PURGE.{EVENTS_STREAM}", body)
            purged += 1
    return purged


async def _with_several_messages(jetstream: JetStream, logs: str) -> AsyncIterator[str]:
    """Logs of running jobs too; one that was sealed as it should be is a single message."""
    offset = 0
    while True:
        body: dict[str, Any] = {"subjects_filter": logs, "offset": offset}
        state = (await jetstream.api(f"STREAM.INFO.{EVENTS_STREAM}", body))["state"]
        subjects: dict[str, int] = state.get("subjects") or {}
        for subject, messages in subjects.items():
            if messages > 1:
                yield subject
        offset += _MOST_SUBJECTS
        if len(subjects) < _MOST_SUBJECTS:
            return
