"""One embedder for all: equal questions at once must not queue up behind each other.

`Scripted` stands for any embedder: it answers when the test says so, and tells what it was asked.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from tidegate.cache.embedders.shared import SharedEmbedder
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.component import Deadline


class Scripted:
    """An embedder whose vectors tell the texts' lengths."""

    name = "scripted"
    fingerprint = "scripted"
    dimension = 2

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.given_up: list[str] = []
        self.open = asyncio.Event()
        self.error: EmbedderError | None = None
        self.ended: list[str] = []

    async def start(self) -> None:
        self.ended.append("start")

    async def stop(self, deadline: Deadline) -> None:
        del deadline
        self.ended.append("stop")

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        self.asked += texts
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.given_up += texts
            raise
        if self.error is not None:
            raise self.error
        return [np.array([len(text), 1], dtype=np.float32) for text in texts]


async def settled() -> None:
    """Returns when all that can happen without the test has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def lengths(vectors: list[Vector]) -> list[float]:
    return [float(vector[0]) for vector in vectors]


async def test_equal_texts_at_once_are_embedded_once() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner)
    callers = [asyncio.create_task(shared.embed(["ebb", "flow", "ebb"])) for _ in range(100)]
    await settled()
    inner.open.set()
    assert [lengths(await caller) for caller in callers] == [[3, 4, 3]] * 100
    assert inner.asked == ["ebb", "flow"]


async def test_a_store_after_a_lookup_embeds_nothing() -> None:
    inner = Scripted()
    inner.open.set()
    shared = SharedEmbedder(inner)
    await shared.embed(["ebb"])
    assert lengths(await shared.embed(["flow", "ebb"])) == [4, 3]
    assert inner.asked == ["ebb", "flow"]


async def test_one_that_leaves_takes_nothing_from_those_that_stay() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner)
    hasty, patient = (asyncio.create_task(shared.embed(["ebb"])) for _ in range(2))
    await settled()
    hasty.cancel()
    await settled()
    inner.open.set()
    assert lengths(await patient) == [3]
    assert hasty.cancelled()
    assert (inner.asked, inner.given_up) == (["ebb"], [])


async def test_what_nobody_waits_for_is_given_up_and_asked_for_anew() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner)
    hasty = asyncio.create_task(shared.embed(["ebb"]))
    await settled()
    hasty.cancel()
    while not hasty.done():
        await asyncio.sleep(0)
    patient = asyncio.create_task(shared.embed(["ebb"]))
    await settled()
    inner.open.set()
    assert lengths(await patient) == [3]
    assert (inner.asked, inner.given_up) == (["ebb", "ebb"], ["ebb"])


async def test_a_provider_that_was_asked_is_heard_out() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner, finish=True)
    hasty = asyncio.create_task(shared.embed(["ebb"]))
    await settled()
    hasty.cancel()
    await settled()
    inner.open.set()
    await settled()
    assert lengths(await shared.embed(["ebb"])) == [3]
    assert (inner.asked, inner.given_up) == (["ebb"], [])


async def test_more_than_can_be_done_in_time_is_refused_at_once() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner, most=2)
    callers = [asyncio.create_task(shared.embed([text])) for text in ("a", "bb", "a")]
    await settled()
    with pytest.raises(EmbedderError) as caught:
        await shared.embed(["ccc"])
    assert caught.value.passing
    inner.open.set()
    assert [lengths(await caller) for caller in callers] == [[1], [2], [1]]
    assert lengths(await shared.embed(["ccc"])) == [3]


async def test_a_failure_is_everybodys_and_is_not_remembered() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner)
    inner.error = EmbedderError("down", passing=True)
    callers = [asyncio.create_task(shared.embed(["ebb"])) for _ in range(3)]
    await settled()
    inner.open.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers == [inner.error] * 3
    inner.error = None
    assert lengths(await shared.embed(["ebb"])) == [3]


async def test_it_begins_and_ends_with_its_embedder() -> None:
    inner = Scripted()
    shared = SharedEmbedder(inner)
    await shared.start()
    await shared.stop(Deadline(1))
    assert inner.ended == ["start", "stop"]
    assert (shared.name, shared.fingerprint, shared.dimension) == ("scripted", "scripted", 2)
