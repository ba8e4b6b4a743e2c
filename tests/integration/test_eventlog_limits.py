"""How long an answer may be: what was said is kept, and no model is paid for it twice."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.log_world import LogWorld, wait_until
from tests.support.nats_server import NatsServer
from tidegate.contracts.errors import NotFound
from tidegate.contracts.events import Completed, Delta, Timings, Usage
from tidegate.contracts.fold import fold
from tidegate.contracts.jobs import QueuedJob
from tidegate.eventlog.appender import UnsettledError
from tidegate.eventlog.head import read_head
from tidegate.eventlog.writer import LogWriter, OutputTooLongError

_WORDS = "the tide turns " * 10
_END = Completed(["stop"], Usage(), Timings(0, 0, 0))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LogWorld]:
    async with (
        NatsServer(tmp_path, config="max_payload: 192KB") as nats,
        LogWorld(nats.url) as small,
    ):
        yield small


def _stored(writer: LogWriter, sequence: int) -> bool:
    return writer.stored_sequence >= sequence


async def _say(writer: LogWriter, words: int) -> None:
    """One word for each append, as a slow model does."""
    for _ in range(words):
        writer.emit(Delta(_WORDS))
        await wait_until(partial(_stored, writer, writer.stored_sequence + 1))


async def _text(world: LogWorld, job: QueuedJob) -> str:
    return fold(await world.stored_lines(job)).answer().text


async def test_an_attempt_that_was_lost_leaves_room_for_the_next(world: LogWorld) -> None:
    """Two attempts that are larger, as they are written, than one message may be."""
    job = await world.queue_job()
    await _say(await world.start_attempt(job), 450)
    second = await world.start_attempt(job, worker="another")
    await _say(second, 450)
    await second.seal(_END)
    assert await _text(world, job) == _WORDS * 450


async def test_a_full_log_can_still_be_sealed_with_all_that_was_said(world: LogWorld) -> None:
    dice, job, said = random.Random(7), await world.queue_job(), ""
    writer = await world.start_attempt(job)
    with contextlib.suppress(OutputTooLongError):
        while True:
            word = "".join(chr(dice.randrange(0x4E00, 0x9FFF)) for _ in range(50))
            writer.emit(Delta(word))
            said += word
            await asyncio.sleep(0)
    await writer.seal(_END)
    assert await _text(world, job) == said
    assert len(said) > 10_000


async def test_what_can_never_be_stored_is_given_up_at_once(world: LogWorld) -> None:
    """Else its worker's slot is held until the deadline."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    huge = Completed(["x" * 300_000], Usage(), Timings(0, 0, 0))
    with pytest.raises(UnsettledError, match="too many"):
        await writer.seal(huge)
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert not head.sealed


async def test_an_attempt_that_was_handed_back_is_not_counted_as_lost(world: LogWorld) -> None:
    """A deploy in the middle of a long answer is not the job's fault."""
    job = await world.queue_job()
    first = await world.start_attempt(job)
    first.emit(Delta("the "))
    await first.hand_back()
    second = await world.start_attempt(job, worker="another")
    head = await read_head(world.jetstream, job.tenant, job.id)
    assert (head.attempts, head.lost_attempts) == (2, 1)
    second.emit(Delta("tide"))
    await second.seal(_END)
    assert await _text(world, job) == "tide"


async def test_a_deleted_answer_is_not_served_from_memory(world: LogWorld) -> None:
    """The live copy of the deletion may be lost; whoever asks anew must not get the text."""
    job = await world.queue_job()
    writer = await world.start_attempt(job)
    await writer.seal(_END)
    reader = (await world.peer()).reader()
    assert (await reader.follow(job.tenant, job.id, _nothing)).ended
    await world.jetstream.api("STREAM.PURGE.EVENTS")
    await world.jetstream.api("STREAM.PURGE.JOBS")
    with pytest.raises(NotFound):
        await reader.follow(job.tenant, job.id, _nothing)


def _nothing() -> None:
    """A listener that does not listen."""
