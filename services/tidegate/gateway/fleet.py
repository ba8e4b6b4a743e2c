"""Asking all processes for their figures."""

import asyncio
import contextlib
import secrets
from itertools import count
from typing import Final, Protocol

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.subjects import figures_answers, figures_ask_subject
from tidegate.figures.snapshot import Snapshot, SnapshotError, decode_snapshot

_log = structlog.stdlib.get_logger(module=__name__)

# An answer takes milliseconds; a process that is busy gets more, and never longer than all.
_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 0.3


class FleetFigures:
    """A component. Nobody knows how many processes there are: whoever answers in time counts.

    `seconds` bounds a question; it ends before that once an answer was the last for
    `quiet_seconds`.
    """

    name = "fleet-figures"

    def __init__(
        self,
        nats: NatsConnection,
        *,
        seconds: float = _SECONDS,
        quiet_seconds: float = _QUIET_SECONDS,
    ) -> None:
        self._nats = nats
        self._seconds = seconds
        self._quiet_seconds = quiet_seconds
        self._process = secrets.token_hex(8)
        self._numbers = count(1)
        self._open: dict[str, asyncio.Queue[Snapshot]] = {}
        self._asking: asyncio.Task[list[Snapshot]] | None = None

    async def start(self) -> None:
        """Listen for answers."""
        await self._nats.client.subscribe(figures_answers(self._process), cb=self._answered)

    async def stop(self, deadline: Deadline) -> None:
        """Whoever still asks is not waited for."""
        del deadline
        if self._asking is not None:
            self._asking.cancel()

    async def ask(self) -> list[Snapshot]:
        """What each process says, by host and start. Those who ask at once share the answers.

        Raises:
            Unavailable: there is no connection.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name=self.name)
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, task: asyncio.Task[list[Snapshot]]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # Whoever asked has it, or is gone.

    async def _ask(self) -> list[Snapshot]:
        subject = figures_ask_subject(self._process, next(self._numbers))
        number = subject.rpartition(".")[2]
        answers = self._open[number] = asyncio.Queue()
        told: dict[str, Snapshot] = {}
        try:
            await self._nats.publish(subject)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    snapshot = await answers.get()
                    while True:
                        told[snapshot.process] = snapshot
                        snapshot = await asyncio.wait_for(answers.get(), self._quiet_seconds)
        finally:
            del self._open[number]
        return sorted(told.values(), key=lambda each: (each.host, each.started_at))

    async def _answered(self, message: "_Answer") -> None:
        answers = self._open.get(message.subject.rpartition(".")[2])
        if answers is None:
            return  # Too late.
        try:
            answers.put_nowait(decode_snapshot(message.data))
        except SnapshotError as error:
            _log.warning("figures that cannot be read are left out", why=str(error))


class _Answer(Protocol):
    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...
