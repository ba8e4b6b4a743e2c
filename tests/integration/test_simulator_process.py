"""The end of the simulator's process: a drain that cuts streams short spoils the test that runs."""

import asyncio
import os
import signal
import sys
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

USER: Any = [{"role": "user", "content": "When does the tide turn?"}]
SERVER = """
import sys
from tidegate.simulator.app import run
sys.exit(run())
"""


async def spawned(port: int, drain_seconds: str) -> asyncio.subprocess.Process:
    """The simulator as a process of its own, ready."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TIDEGATE_SIMULATOR_LISTEN": f"127.0.0.1:{port}",
        "TIDEGATE_DRAIN_SECONDS": drain_seconds,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    while b'"ready"' not in await asyncio.wait_for(process.stderr.readline(), 20):
        assert process.returncode is None
    return process


async def ended(process: asyncio.subprocess.Process) -> int | None:
    """The exit status; a process that does not end is killed."""
    try:
        async with asyncio.timeout(20):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode


async def read_until_signal(
    port: int, process: asyncio.subprocess.Process, number: signal.Signals, header: str
) -> int:
    """Chunks of a stream of 30 tokens during which the process gets a signal."""
    url, seen = f"http://127.0.0.1:{port}/v1", 0
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        async for _ in await client.chat.completions.create(
            model="sim-small",
            messages=USER,
            max_tokens=30,
            stream=True,
            extra_headers={"x-simulator": header},
        ):
            seen += 1
            if seen == 3:
                process.send_signal(number)
    return seen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_streams_end(free_port: int, number: signal.Signals) -> None:
    process = await spawned(free_port, "20")
    try:
        assert await read_until_signal(free_port, process, number, "") == 32
    finally:
        status = await ended(process)
    assert status == 0


async def test_a_stream_that_outlasts_the_drain_is_cut_off(free_port: int) -> None:
    process = await spawned(free_port, "0.5")
    try:
        with pytest.raises(openai.APIConnectionError):
            await read_until_signal(free_port, process, signal.SIGTERM, "stall_after=2;stall_s=60")
    finally:
        status = await ended(process)
    assert status == 0
