"""Logs as NATS itself keeps them, read past the wires and past every service of the platform."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tests.chaos.told import Frame
from tests.support.log_world import connected
from tidegate.chassis.jetstream import Batch, JetStream, NoAnswerError
from tidegate.contracts.seal import is_sealed, replay
from tidegate.contracts.subjects import EVENTS_ALL, EVENTS_STREAM, tenant_and_job

# Any server answers, and one that was just started again may still have to hear of the newest.
_CATCHING_UP_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.5


@dataclass(slots=True)
class StoredLog:
    """One job's messages: how many seals among them, and the events of the last one.

    `revived` are messages that a seal had replaced. A nats-server that was killed brings some back
    when it builds its index anew (nats-server issue 8505); the seal stays the last.
    """

    seals: int = 0
    revived: int = 0
    is_sealed: bool = False
    frames: list[Frame] = field(default_factory=list)


async def stored_logs(
    url: str, after: int, expected: Collection[str]
) -> tuple[dict[str, StoredLog], int]:
    """By job id, whatever was stored after a stream sequence; and the last sequence there is.

    Waits for a moment until every `expected` job is among them.
    """
    until = time.monotonic() + _CATCHING_UP_SECONDS
    # All servers run by now, and each has all of it.
    async with connected(url.partition(",")[0]) as peer:
        while True:
            logs, last = await _read_all(peer.jetstream, after)
            if logs.keys() >= set(expected) or time.monotonic() > until:
                return logs, last
            await asyncio.sleep(_PAUSE_SECONDS)


def of_the_store(stored: Mapping[str, StoredLog], logs: Mapping[str, list[Frame]]) -> Iterator[str]:
    """A log that has ended has one seal, its last message, which says what everybody is shown."""
    for job_id in stored.keys() - logs.keys():
        yield f"{job_id}: NATS keeps a log that nobody is shown"
    for job_id, log in logs.items():
        kept = stored.get(job_id, StoredLog())
        if kept.seals != 1 or not kept.is_sealed:
            yield f"{job_id}: NATS keeps {kept.seals} seals of its log, not one as its last message"
        elif kept.frames != log:
            yield f"{job_id}: its log is not what NATS keeps: {_difference(kept.frames, log)}"


def _difference(kept: list[Frame], shown: list[Frame]) -> str:
    for one, other in zip(kept, shown, strict=False):
        if one != other:
            return f"{one} is kept, {other} shown"
    return f"{len(kept)} events are kept, {len(shown)} shown"


async def _read_all(jetstream: JetStream, after: int) -> tuple[dict[str, StoredLog], int]:
    logs: dict[str, StoredLog] = {}
    last, pending = after, 1
    while pending:
        batch = await _batch(jetstream, last + 1)
        for message in batch.messages:
            job_id = tenant_and_job(message.subject)[1]
            _add(logs.setdefault(job_id, StoredLog()), job_id, message.payload)
            last = message.sequence
        pending = batch.pending if batch.messages else 0
    return logs, last


async def _batch(jetstream: JetStream, start: int) -> Batch:
    """A server that was just started again may be silent at first."""
    until = time.monotonic() + _CATCHING_UP_SECONDS
    while True:
        try:
            return await jetstream.direct_batch(EVENTS_STREAM, EVENTS_ALL, start)
        except NoAnswerError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)


def _add(log: StoredLog, job_id: str, payload: bytes) -> None:
    log.is_sealed = is_sealed(payload)
    log.seals += log.is_sealed
    log.revived += not log.is_sealed
    if not log.is_sealed:
        return
    log.frames = [
        {"job_id": job_id, "sequence": sequence, "at_ms": line.at_ms} | msgspec.json.decode(raw)
        for line in replay(payload)
        for sequence, raw in enumerate(line.events, line.first)
    ]
