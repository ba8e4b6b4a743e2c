"""What is done to a process; and what it had done to itself before, which a kill would hide."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from tests.chaos.plan import Blow, FaultPlan
from tests.support.nats_server import NatsServer
from tests.support.services import ServiceProcess

# Blows go on while a service starts, on a machine that is busy.
READY_SECONDS: Final = 90.0
_STARTS: Final = 10
_LAST_WORDS: Final = 1_500


class Mortal(Protocol):
    """A process that may be struck, and is started again."""

    log: Path

    @property
    def pid(self) -> int: ...

    @property
    def ended(self) -> bool:
        """Whether it was started and runs no more."""

    @property
    def status(self) -> int | None:
        """Its exit status, or the signal that it died of, below zero; None where it runs."""

    async def kill(self) -> None:
        """kill -9."""

    async def start(self) -> None:
        """Raises RuntimeError where it ends, TimeoutError where it is not ready in time."""


class Service(ServiceProcess):
    """A service of the platform."""

    @property
    def ended(self) -> bool:
        """As `Mortal` has it."""
        return self.status is not None

    @property
    def status(self) -> int | None:
        """As `Mortal` has it."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """As `Mortal` has it."""
        await self.launch()
        await self.until_ready(READY_SECONDS)


class Server(NatsServer):
    """A nats-server."""

    @property
    def ended(self) -> bool:
        """As `Mortal` has it."""
        return not self.running

    @property
    def status(self) -> int | None:
        """As `Mortal` has it."""
        return self._process.returncode if self._process is not None else None


async def strike(name: str, mortal: Mortal, fault: FaultPlan) -> list[str]:
    """Kills or freezes it, and returns when it works again: with what it did by itself."""
    deaths = [_death(name, mortal)] if mortal.ended else []
    if fault.blow is not Blow.KILL and not deaths:
        async with _frozen(mortal.pid, fault.seconds):
            return []
    await mortal.kill()
    await asyncio.sleep(fault.seconds)
    return deaths + await _start(name, mortal)


async def revive(name: str, mortal: Mortal) -> list[str]:
    """Starts it again if it has ended, which was not us."""
    return [_death(name, mortal), *await _start(name, mortal)] if mortal.ended else []


async def _start(name: str, mortal: Mortal) -> list[str]:
    deaths: list[str] = []
    for _ in range(_STARTS):
        try:
            await mortal.start()
        except RuntimeError:
            deaths.append(_death(name, mortal))
        except TimeoutError:
            deaths.append(f"{name} is not ready: {_last_words(mortal)}")
        if not mortal.ended:
            return deaths
    return [*deaths, f"{name} cannot be started"]


def _death(name: str, mortal: Mortal) -> str:
    return f"{name} ended by itself, with status {mortal.status}: {_last_words(mortal)}"


def _last_words(mortal: Mortal) -> str:
    return mortal.log.read_text(encoding="utf-8")[-_LAST_WORDS:]


@contextlib.asynccontextmanager
async def _frozen(pid: int, seconds: float) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
