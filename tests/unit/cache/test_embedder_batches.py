"""Which texts go to a provider together, and what becomes of each.

`Provider` stands for one: it answers when the test says so.
"""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from tidegate.cache.embedders.batches import Batches, RefusedError
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.tasks import TaskGuard


class Provider:
    """Vectors tell the texts' lengths; `refuses` says which texts are at fault."""

    def __init__(self, refuses: Callable[[str], bool] = lambda text: False) -> None:
        self.asked: list[list[str]] = []
        self.open = asyncio.Event()
        self.error: EmbedderError | None = None
        self._refuses = refuses

    async def ask(self, texts: list[str]) -> list[Vector]:
        self.asked.append(texts)
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if any(map(self._refuses, texts)):
            raise RefusedError("one of them")
        return [np.array([len(text)], dtype=np.float32) for text in texts]


async def settled() -> None:
    """Returns when all that can happen without the test has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def begin(batches: Batches, *texts: str) -> asyncio.Task[list[Vector]]:
    return asyncio.create_task(batches.vectors(texts))


async def test_what_waits_meanwhile_goes_together_and_no_more_than_64() -> None:
    provider, guard = Provider(), TaskGuard()
    batches = Batches(provider.ask, guard, requests=2)
    callers = [begin(batches, str(number)) for number in range(102)]
    await settled()
    assert [len(texts) for texts in provider.asked] == [1, 1]
    provider.open.set()
    answers = await asyncio.gather(*callers)
    assert [int(vector[0]) for (vector,) in answers] == [len(str(n)) for n in range(102)]
    assert [len(texts) for texts in provider.asked] == [1, 1, 64, 36]
    assert guard.fault is None


async def test_whose_caller_has_left_is_not_sent() -> None:
    provider, guard = Provider(), TaskGuard()
    batches = Batches(provider.ask, guard, requests=1)
    first, hasty, patient = (begin(batches, text) for text in ("a", "hasty", "patient"))
    await settled()
    hasty.cancel()
    await settled()
    provider.open.set()
    await asyncio.gather(first, patient)
    assert provider.asked == [["a"], ["patient"]]


async def test_one_texts_fault_is_not_anothers() -> None:
    provider, guard = Provider(refuses=lambda text: text == "bad"), TaskGuard()
    provider.open.set()
    batches = Batches(provider.ask, guard, requests=1)
    texts = ["first", *(f"good {number}" for number in range(9)), "bad", "good"]
    answers = await asyncio.gather(
        *(begin(batches, text) for text in texts), return_exceptions=True
    )
    refused = [text for text, answer in zip(texts, answers, strict=True) if not _is_list(answer)]
    assert refused == ["bad"]
    assert isinstance(answers[texts.index("bad")], RefusedError)


def _is_list(answer: object) -> bool:
    return isinstance(answer, list)


@pytest.mark.parametrize("passing", [True, False])
async def test_what_is_nobodys_fault_is_not_asked_again(passing: bool) -> None:
    """A provider that answers nonsense would be asked a hundred times otherwise."""
    provider, guard = Provider(), TaskGuard()
    provider.error = EmbedderError("down", passing=passing)
    batches = Batches(provider.ask, guard, requests=1)
    asked = [begin(batches, "a"), begin(batches, "b", "c"), begin(batches, "d")]
    await settled()
    provider.open.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers == [provider.error] * 3
    assert provider.asked == [["a"], ["b", "c", "d"]]
    assert guard.fault is None


async def test_at_the_end_everybody_is_told() -> None:
    provider, guard = Provider(), TaskGuard()
    batches = Batches(provider.ask, guard, requests=1)
    callers = [begin(batches, "under way"), begin(batches, "waiting")]
    await settled()
    batches.stop()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(each, EmbedderError) and each.passing for each in answers] == [True, True]
    with pytest.raises(EmbedderError):
        await batches.vectors(["late"])
    await guard.cancel_all()
    assert guard.fault is None
