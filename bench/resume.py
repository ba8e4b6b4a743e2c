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
are left out where one was less disturbed; `without` counts the clients that got no answer.
"""

import argparse
import asyncio
import gc
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench._child import (
    Answer,
    Child,
    Costs,
    calm,
    quantile,
    resident_bytes,
    spread,
    table,
    until_quiet,
)
from bench._machine import describe
from bench._resume_logs import Logs
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.services import StreamingProcess

CLIENTS = "bench._resume_clients"
# p50 and p99, milliseconds.
GOALS = {"in memory": (1.0, 1.0), "unknown": (2.0, 5.0), "sealed": (2.0, 5.0)}
GOAL_IDLE_KIB = 20.0
# Answers of a turn that are thrown away: the first ones pay for what is made once.
_WARM = 10
_AFTER = 1
_IDLE_PROCESSES = 2
_SPARE_FILES = 500


@dataclass(frozen=True, slots=True)
class Options:
    """`running` are the numbers of running logs to be measured with, one after the other."""

    rounds: int
    running: tuple[int, ...]
    resumes: int
    events: int
    rate: float
    idle: int
    only: tuple[str, ...]
    quiet: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind's waits in milliseconds, and what else kept the cores busy."""

    waits: list[float]
    without: int
    cpu_us: float
    others: float


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of each kind, and those that hold the shards."""

    memory: list[str]
    unknown: list[str]
    sealed: list[str]
    shards: list[str]


Turns = defaultdict[tuple[str, int], list[Turn]]


async def make_jobs(logs: Logs, running: int, options: Options) -> Jobs:
    begun = time.monotonic()
    stored = options.events + _AFTER
    memory = min(max(running // 5, 1), 50)
    jobs = await logs.running(running)
    sealed = await logs.sealed(options.resumes + _WARM)
    print(
        f"{running} running logs of {stored} events, {len(sealed)} sealed ones: "
        f"written in {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    wanted = min(options.resumes + _WARM, running - memory)
    return Jobs(
        jobs[:memory],
        jobs[memory : memory + wanted],
        sealed,
        await logs.queued_in_each_shard(),
    )


async def one_round(
    nats: NatsServer, streaming: StreamingProcess, clients: Child, jobs: Jobs, options: Options
) -> dict[str, Turn]:
    port, stored = streaming.websocket_port, options.events + _AFTER
    await clients.ask("hold", port=port, jobs=jobs.shards, events=0)
    await clients.ask("hold", port=port, jobs=jobs.memory, events=stored)
    again = (options.resumes + _WARM) // len(jobs.memory) + 1
    kinds = {
        "in memory": (jobs.memory * again)[: options.resumes + _WARM],
        "unknown": jobs.unknown,
        "sealed": jobs.sealed,
    }
    turns = {}
    for kind, some in kinds.items():
        await until_quiet(options.quiet)
        costs = Costs({"streaming": streaming.pid, "clients": clients.pid, "nats": nats.pid})
        answer = await clients.ask(
            "resume", port=port, jobs=some, after=_AFTER, events=options.events, rate=options.rate
        )
        turns[kind] = _turn(kind, answer, costs, len(some))
    await clients.ask("close")
    return turns


def _turn(kind: str, answer: Answer, costs: Costs, number: int) -> Turn:
    for problem, times in answer["problems"].items():
        print(f"PROBLEM, {kind}: {times} times {problem}", flush=True)
    waits = answer["waits"]
    without = number - len(waits)
    cpu, cores = costs.each(number), costs.cores()
    return Turn(waits[_WARM:], without, cpu["streaming"], cores["others"])


async def measure_resume(options: Options) -> None:
    turns: Turns = defaultdict(list)
    for running in options.running:
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with (
                NatsServer(Path(folder), config="max_payload: 8MB") as nats,
                LogWorld(nats.url) as world,
                Child(CLIENTS) as clients,
            ):
                logs = Logs(world, options.events + _AFTER)
                jobs = await make_jobs(logs, running, options)
                gc.collect()
                gc.freeze()
                for number in range(1, options.rounds + 1):
                    async with _streaming(nats, Path(folder)) as streaming:
                        made = await one_round(nats, streaming, clients, jobs, options)
                    for kind, turn in made.items():
                        turns[kind, running].append(turn)
                    _tell(number, running, made)
                await logs.abandon()
                gc.unfreeze()
    show_resume(turns, options.events)


def _streaming(nats: NatsServer, folder: Path) -> StreamingProcess:
    return StreamingProcess(nats.url, folder, websocket_hello_seconds=600, log_level="warning")


def _tell(number: int, running: int, made: dict[str, Turn]) -> None:
    figures = ", ".join(
        f"{kind} {quantile(turn.waits, 0.5):.1f} / {quantile(turn.waits, 0.99):.1f} ms"
        for kind, turn in made.items()
    )
    others = statistics.mean(turn.others for turn in made.values())
    print(f"round {number}, {running} running: {figures}, others {others:.2f} cores", flush=True)


def show_resume(turns: Turns, events: int) -> None:
    table(
        f"Resume of {events} events: median (least-most) of rounds, and p99 over all of them",
        ("", "running", "rounds", "p50 ms", "p95 ms", "p99 ms", "p99 of all", "without", "CPU us"),
        (
            (
                kind,
                f"{running:,}",
                f"{len(calm(some))} of {len(some)}",
                *(spread([quantile(t.waits, q) for t in calm(some)]) for q in (0.5, 0.95, 0.99)),
                f"{quantile([wait for t in calm(some) for wait in t.waits], 0.99):.1f}",
                str(sum(t.without for t in some)),
                spread([t.cpu_us for t in calm(some)], 0),
            )
            for (kind, running), some in sorted(turns.items())
        ),
    )
    for (kind, running), some in sorted(turns.items()):
        p50, p99 = (
            statistics.median(quantile(t.waits, q) for t in calm(some)) for q in (0.5, 0.99)
        )
        goal50, goal99 = GOALS[kind]
        verdict = "met" if p50 <= goal50 and p99 <= goal99 else "NOT met"
        print(
            f"  {kind}, {running:,} running: p50/p99 {p50:.1f}/{p99:.1f} ms, "
            f"goal {goal50:g}/{goal99:g} {verdict}"
        )


async def measure_idle(options: Options) -> None:
    allowed = _raise_open_files(options.idle + _SPARE_FILES)
    number = min(options.idle, allowed - _SPARE_FILES)
    if number < options.idle:
        print(f"the hard limit of open files is {allowed}: {number} sockets only")
    plain, following = [], []
    for turn in range(1, options.rounds + 1):
        with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
            async with (
                NatsServer(Path(folder), config="max_payload: 8MB") as nats,
                LogWorld(nats.url) as world,
                _streaming(nats, Path(folder)) as streaming,
            ):
                jobs = await Logs(world, 0).queued_in_each_shard()
                made = await _idle_round(streaming, jobs, number)
        plain.append(made[0])
        following.append(made[1])
        print(f"round {turn}: {made[0]:.1f} KiB, following a job {made[1]:.1f} KiB", flush=True)
    table(
        f"Memory of the streaming process for each of {number:,} idle sockets, KiB",
        ("", "median (least-most)"),
        (("open", spread(plain)), ("following a job", spread(following))),
    )
    verdict = "met" if statistics.median(plain) <= GOAL_IDLE_KIB else "NOT met"
    print(f"  open: goal {GOAL_IDLE_KIB:g} KiB {verdict}")


async def _idle_round(
    streaming: StreamingProcess, jobs: list[str], number: int
) -> tuple[float, float]:
    async with Child(CLIENTS) as one, Child(CLIENTS) as other:
        children = (one, other)
        port, share = streaming.websocket_port, number // _IDLE_PROCESSES
        # What the first sockets of a process make once is not theirs.
        await one.ask("idle", port=port, number=_WARM)
        before = resident_bytes(streaming.pid)
        opened = await asyncio.gather(
            one.ask("idle", port=port, number=share - _WARM),
            other.ask("idle", port=port, number=share),
        )
        seconds = max(answer["seconds"] for answer in opened)
        # One round of pings at least.
        await asyncio.sleep(22.0)
        plain = resident_bytes(streaming.pid) - before
        await asyncio.gather(*(child.ask("subscribe", jobs=jobs) for child in children))
        await asyncio.sleep(3.0)
        following = resident_bytes(streaming.pid) - before
        for child in children:
            if (answer := await child.ask("lost"))["lost"] or answer["told"]:
                print(f"PROBLEM: {answer}")
        print(f"{share * len(children)} sockets opened in {seconds:.0f} s", flush=True)
    each = (share * _IDLE_PROCESSES - _WARM) * 1024
    return plain / each, following / each


def _raise_open_files(wanted: int) -> int:
    """Raises the soft limit, which children inherit; returns what is allowed then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(soft, allowed)


async def measure(options: Options) -> None:
    begun = time.monotonic()
    if "resume" in options.only:
        await measure_resume(options)
    if "idle" in options.only:
        await measure_idle(options)
    print(f"\n{options.rounds} rounds, {time.monotonic() - begun:.0f} s in all")


def parse() -> Options:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--running", default="100,1000", help="running logs in the stream")
    parser.add_argument("--resumes", type=int, default=150, help="of each kind in a round")
    parser.add_argument("--events", type=int, default=200, help="of an answer")
    parser.add_argument("--rate", type=float, default=20.0, help="resumes per second")
    parser.add_argument("--idle", type=int, default=10_000, help="idle sockets")
    parser.add_argument("--quiet", type=float, default=0.0, help="s to wait for it before a turn")
    parser.add_argument("--only", default="resume,idle", help="some of these")
    chosen = parser.parse_args()
    return Options(
        rounds=chosen.rounds,
        running=tuple(map(int, chosen.running.split(","))),
        resumes=chosen.resumes,
        events=chosen.events,
        rate=chosen.rate,
        idle=chosen.idle,
        only=tuple(chosen.only.split(",")),
        quiet=chosen.quiet,
    )


def main() -> None:
    options = parse()
    print(describe(), flush=True)
    uvloop.run(measure(options))


if __name__ == "__main__":
    main()
