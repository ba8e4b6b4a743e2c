"""The idle sockets of bench/resume.py, and what streaming grows by for each."""

import asyncio
import resource
import tempfile
from pathlib import Path
from typing import Final

from bench._child import Child, resident_bytes
from bench._resume_logs import Logs
from bench._resume_rounds import CLIENTS, WARM, Options, streaming_process
from bench._resume_tables import show_idle
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.services import StreamingProcess

_IDLE_PROCESSES: Final = 2
_SPARE_FILES: Final = 500


async def measure_idle(options: Options) -> int:
    """Prints what an idle socket takes; how many problems there were."""
    allowed = _raise_open_files(options.idle + _SPARE_FILES)
    number = min(options.idle, allowed - _SPARE_FILES)
    if number < options.idle:
        print(f"the hard limit of open files is {allowed}: {number} sockets only")
    plain, following, problems = [], [], 0
    for turn in range(1, options.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with (
                NatsServer(Path(folder), config="max_payload: 8MB") as nats,
                LogWorld(nats.url) as world,
                streaming_process(nats, Path(folder)) as streaming,
            ):
                jobs = await Logs(world, 0).queued_in_each_shard()
                made = await _idle_round(streaming, jobs, number)
        plain.append(made[0])
        following.append(made[1])
        problems += made[2]
        print(f"round {turn}: {made[0]:.1f} KiB, following a job {made[1]:.1f} KiB", flush=True)
    show_idle(number, plain, following)
    return problems


async def _idle_round(
    streaming: StreamingProcess, jobs: list[str], number: int
) -> tuple[float, float, int]:
    """KiB for each socket, open and following a job; how many were closed or told anything."""
    async with Child(CLIENTS) as one, Child(CLIENTS) as other:
        children = (one, other)
        port, share = streaming.websocket_port, number // _IDLE_PROCESSES
        # What the first sockets of a process make once is not theirs.
        await one.ask("idle", port=port, number=WARM)
        before = resident_bytes(streaming.pid)
        opened = await asyncio.gather(
            one.ask("idle", port=port, number=share - WARM),
            other.ask("idle", port=port, number=share),
        )
        seconds = max(answer["seconds"] for answer in opened)
        # One round of pings at least.
        await asyncio.sleep(22.0)
        plain = resident_bytes(streaming.pid) - before
        await asyncio.gather(*(child.ask("subscribe", jobs=jobs) for child in children))
        await asyncio.sleep(3.0)
        following = resident_bytes(streaming.pid) - before
        problems = 0
        for child in children:
            if (answer := await child.ask("lost"))["lost"] or answer["told"]:
                print(f"PROBLEM: {answer}")
                problems += answer["lost"] + answer["told"]
        print(f"{share * len(children)} sockets opened in {seconds:.0f} s", flush=True)
    each = (share * _IDLE_PROCESSES - WARM) * 1024
    return plain / each, following / each, problems


def _raise_open_files(wanted: int) -> int:
    """Raises the soft limit, which children inherit; returns what is allowed then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)
