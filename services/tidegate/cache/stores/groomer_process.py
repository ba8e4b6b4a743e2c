"""The groomer as the cache sees it: a child process that copies, works and ends."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tidegate.cache.entries import StoreError
from tidegate.cache.stores.groomer import COPIED
from tidegate.chassis.children import die_with_parent, leave_group

_END_SECONDS: Final = 5.0


class GroomerProcess:
    """One run of a groomer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def copied(self) -> None:
        """Returns when it has copied its sources. Raises StoreError if it ends before."""
        line = b"" if self._process.stdout is None else await self._process.stdout.readline()
        if line != COPIED:
            await self.done()
            raise StoreError("the store's groomer copied nothing")

    async def done(self) -> None:
        """Returns when it has ended well. Raises StoreError if it has not."""
        status = await self._process.wait()
        if status != 0:
            raise StoreError(f"the store's groomer ended with status {status}")


def _begin() -> None:
    leave_group()
    # It may be deep in the engine, which holds Python's lock, and not see its input end.
    die_with_parent(signal.SIGKILL)


@contextlib.asynccontextmanager
async def groomer_process(
    dimension: int, target: Path, sources: Sequence[Path], *, idle: bool
) -> AsyncIterator[GroomerProcess]:
    """Starts a groomer, and kills it at the end if it still works. Raises OSError.

    `idle`: after its copies it works only where nobody else does.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate.cache.stores.groomer"),
        *("idle" if idle else "nice", str(dimension), str(target), *map(str, sources)),
        # Its end tells the groomer that nobody waits for it any more.
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=_begin,
    )
    try:
        yield GroomerProcess(process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        # One that waits for its disk is not even killed before; it works where nobody else does.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
