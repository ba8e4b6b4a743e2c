"""Shadows: a hit that the model answered too, and whether both answers say the same."""

import asyncio
from typing import Final

import numpy as np
import structlog

from tidegate.cache.entries import Entry, Selection, StoreError, is_entry_id
from tidegate.cache.honesty import SHADOW_RIGHT, SHADOW_WRONG
from tidegate.cache.parts import Parts
from tidegate.cache.questions import NoVector, NoVectorError
from tidegate.cache.request import Prompt
from tidegate.cache.verifier import Verifier
from tidegate.chassis.component import Deadline
from tidegate.chassis.logs import describe_error
from tidegate.chassis.tasks import TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

# Of the beginning of each answer: what follows it repeats, explains or offers more. Less of both
# where the embedder takes no more.
_CHARACTERS: Final = (1_000, 500, 250)
# Each holds two answers in memory.
_AT_ONCE: Final = 64
_STOP_SECONDS: Final = 2.0


class Shadows:
    """A component: compares in the background, for whoever stores an answer does not wait for it.

    `agreement` is the cosine of two answers, from which they say the same. Where there is a
    verifier, its word on the questions counts instead.
    """

    name = "shadows"

    def __init__(
        self, parts: Parts, verifier: Verifier | None, guard: TaskGuard, *, agreement: float
    ) -> None:
        self._store = parts.store
        self._questions = parts.questions
        self._honesty = parts.honesty
        self._metrics = parts.metrics
        self._verifier = verifier
        self._guard = guard
        self._tasks: set[asyncio.Task[None]] = set()
        self._agreement = agreement

    async def start(self) -> None:
        """Nothing is there to be compared yet."""

    async def stop(self, deadline: Deadline) -> None:
        """Gives what is under way a moment; then it is not compared."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=min(deadline.remaining() / 2, _STOP_SECONDS))
        for task in self._tasks:
            task.cancel()

    async def find(self, prompt: Prompt, entry_id: str) -> Entry | None:
        """The entry that would have been served; read it before another takes its place.

        Raises:
            StoreError: the store does not say.
        """
        entry = None
        if is_entry_id(entry_id):
            # As of the beginning of time: it may have expired while the model answered.
            entry = await self._store.get(prompt.tenant, entry_id, 0)
        if entry is None or entry.scope != prompt.scope(self._questions.embedder):
            self._count("not_compared")
            return None
        return entry

    def compare(self, prompt: Prompt, shadowed: Entry, text: str) -> None:
        """Begins to find out whether the entry's answer was right, and to remove it if not."""
        if len(self._tasks) >= _AT_ONCE:
            self._count("not_compared")
            return
        task = self._guard.spawn("shadow", self._compare(prompt, shadowed, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, prompt: Prompt, shadowed: Entry, text: str) -> None:
        """Raises nothing: a comparison is not worth the process that makes it."""
        verdict = "not_compared"
        try:
            right = await self._is_right(prompt, shadowed, text)
            if right is not None:
                verdict = "right" if right else "wrong"
                await self._conclude(prompt, shadowed, right=right)
        except Exception as error:
            _log.error("a shadow was not dealt with", error=describe_error(error))
        finally:
            self._count(verdict)

    async def _conclude(self, prompt: Prompt, shadowed: Entry, *, right: bool) -> None:
        self._honesty.tell(prompt.tenant, SHADOW_RIGHT if right else SHADOW_WRONG)
        if right or shadowed.id == prompt.entry_id:
            # The latter was replaced by the model's answer.
            return
        try:
            await self._store.remove(Selection(prompt.tenant, entry_id=shadowed.id))
        except StoreError as error:
            _log.warning("a wrong entry was not removed", error=describe_error(error))

    async def _is_right(self, prompt: Prompt, shadowed: Entry, text: str) -> bool | None:
        if self._verifier is not None:
            return await self._verifier.same(prompt.question, shadowed.question)
        if text.strip() == shadowed.text.strip():
            return True
        for characters in _CHARACTERS:
            try:
                given = await self._questions.vector(text.strip()[:characters])
                stored = await self._questions.vector(shadowed.text.strip()[:characters])
            except NoVectorError as error:
                if error.reason is NoVector.NOT_EMBEDDABLE:
                    continue
                return None
            return float(np.dot(given, stored)) >= self._agreement
        return None

    def _count(self, verdict: str) -> None:
        self._metrics.judgements.shadows.labels(verdict).inc()
