"""Commands to their end: one at a time for who sets a bed up, and beside others for a test."""

import asyncio
import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bed.errors import CommandError


def run(
    command: Sequence[str | Path],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 600.0,
) -> str:
    """Its standard output. Raises CommandError."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=input if input is not None else b"",
            capture_output=True,
            check=False,
            env=env,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandError(words, None, (late.stderr or b"").decode(errors="replace")) from late
    if done.returncode:
        raise CommandError(words, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


async def arun(
    command: Sequence[str | Path],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> str:
    """The same without blocking the event loop. Raises CommandError."""
    words = [str(word) for word in command]
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )
    # Not asyncio.timeout around communicate(), which would lose what the command has said.
    talking = asyncio.ensure_future(process.communicate(input or b""))
    try:
        done, _ = await asyncio.wait([talking], timeout=timeout)
    finally:  # also of a test that was cancelled: it leaves no command behind
        if not talking.done():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        stdout, stderr = await talking
    if not done:
        raise CommandError(words, None, stderr.decode(errors="replace"))
    if process.returncode:
        raise CommandError(words, process.returncode, stderr.decode(errors="replace"))
    return stdout.decode(errors="replace")
