"""Python processes of a test's own: started with a script, ended by their own process id."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def python_process(
    script: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `script` with the repository's packages importable; killed at the end if it still lives.

    Standard output and standard error are pipes. `environ` is added to PATH and PYTHONPATH, and is
    all that the process gets.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/services:{ROOT}",
            **(environ or {}),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
