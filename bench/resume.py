"""What it takes one streaming process to resume a client, and to keep an idle one.

    python -m bench.resume [--rounds 3] [--running 100,1000] [--idle 10000] [--only resume,idle]

Resume: a client on an open WebSocket subscribes with `after_sequence` and gets the 200 events after
it; the time is from when the frame was due on a schedule to the last event. In memory: another
client follows the job. Unknown: the job runs, and this process has nothing of its log. Sealed: the
job has ended, and this process has nothing of it. Each of the events of a running log is a message
of its own among those of all running jobs, so that it matters how many of those there are; a sealed
log is one message. Nothing is written meanwhile. Every answer is checked: all events, once, in
order; who gets none is counted. All shards are subscribed to before, as in any process with some
clients. `CPU` is the streaming process's for one resume, its handshake included.

Idle: sockets opened by two processes of their own; what the streaming process grew by, once they
are open, and again when each follows a job that waits. What the kernel holds is not in it.

The kinds take turns within each round, which has a new streaming process; figures are medians and
ranges over the rounds. Turns in which something else kept more than 0.3 cores of this machine busy
are left out where one was less disturbed; `without` counts the clients that got no answer. One of
those, a wrong answer, or an idle socket that is closed or told anything: the run fails.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import uvloop

from bench._child import Child, quantile
from bench._machine import describe
from bench._options import amount, count, counts, some_of
from bench._resume_idle import measure_idle
from bench._resume_logs import Logs
from bench._resume_rounds import (
    CLIENTS,
    Options,
    Turn,
    Turns,
    make_jobs,
    one_round,
    streaming_process,
)
from bench._resume_tables import show_resume
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer


async def measure_resume(options: Options) -> int:
    """Prints how long resumes take; how many clients got no answer, or not the right one."""
    turns: Turns = defaultdict(list)
    for running in options.running:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with (
                NatsServer(Path(folder), config="max_payload: 8MB") as nats,
                LogWorld(nats.url) as world,
                Child(CLIENTS) as clients,
            ):
                logs = Logs(world, options.stored)
                jobs = await make_jobs(logs, running, options)
                gc.collect()
                gc.freeze()
                for number in range(1, options.rounds + 1):
                    async with streaming_process(nats, Path(folder)) as streaming:
                        made = await one_round(nats, streaming, clients, jobs, options)
                    for kind, turn in made.items():
                        turns[kind, running].append(turn)
                    _tell(number, running, made)
                await logs.abandon()
                gc.unfreeze()
    show_resume(turns, options.events)
    return sum(turn.problems + turn.without for some in turns.values() for turn in some)


def _tell(number: int, running: int, made: dict[str, Turn]) -> None:
    figures = ", ".join(
        f"{kind} {quantile(turn.waits, 0.5):.1f} / {quantile(turn.waits, 0.99):.1f} ms"
        for kind, turn in made.items()
    )
    others = statistics.mean(turn.others for turn in made.values())
    print(f"round {number}, {running} running: {figures}, others {others:.2f} cores", flush=True)


async def measure(options: Options) -> int:
    """Everything that was chosen; how many problems there were."""
    begun, problems = time.monotonic(), 0
    if "resume" in options.only:
        problems += await measure_resume(options)
    if "idle" in options.only:
        problems += await measure_idle(options)
    print(f"\n{options.rounds} rounds, {time.monotonic() - begun:.0f} s in all")
    return problems


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument(
        "--running", type=counts, default="100,1000", help="running logs in the stream"
    )
    parser.add_argument("--resumes", type=count, default=150, help="of each kind in a round")
    parser.add_argument("--events", type=count, default=200, help="of an answer")
    parser.add_argument("--rate", type=amount, default=20.0, help="resumes per second")
    parser.add_argument("--idle", type=count, default=10_000, help="idle sockets")
    parser.add_argument("--quiet", type=float, default=0.0, help="s to wait for it before a turn")
    parser.add_argument(
        "--only", type=some_of(("resume", "idle")), default="resume,idle", help="some of these"
    )
    chosen = parser.parse_args()
    return Options(
        rounds=chosen.rounds,
        running=chosen.running,
        resumes=chosen.resumes,
        events=chosen.events,
        rate=chosen.rate,
        idle=chosen.idle,
        only=chosen.only,
        quiet=chosen.quiet,
    )


def main() -> int:
    options = parse()
    print(describe(), flush=True)
    problems = uvloop.run(measure(options))
    if problems:
        print(f"FAILED: {problems} clients got no answer, or not the right one")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
