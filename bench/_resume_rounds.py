"""The rounds of bench/resume.py: each kind of resume in its turn."""

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench._child import Answer, Child, Costs, until_quiet
from bench._resume_logs import Logs
from tests.support.nats_server import NatsServer
from tests.support.services import StreamingProcess

CLIENTS: Final = "bench._resume_clients"
# Answers of a turn that are thrown away: the first ones pay for what is made once.
WARM: Final = 10
_AFTER: Final = 1


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

    @property
    def stored(self) -> int:
        """Events of a running log."""
        return self.events + _AFTER


@dataclass(frozen=True, slots=True)
class Turn:
    """One kind's waits in milliseconds, and what else kept the cores busy.

    `without` clients got no answer, `problems` were not right.
    """

    waits: list[float]
    without: int
    cpu_us: float
    others: float
    problems: int


# By kind and number of running logs.
Turns = defaultdict[tuple[str, int], list[Turn]]


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of each kind, and those that hold the shards."""

    memory: list[str]
    unknown: list[str]
    sealed: list[str]
    shards: list[str]


def streaming_process(nats: NatsServer, folder: Path) -> StreamingProcess:
    return StreamingProcess(nats.url, folder, websocket_hello_seconds=600, log_level="warning")


async def make_jobs(logs: Logs, running: int, options: Options) -> Jobs:
    begun = time.monotonic()
    stored = options.stored
    memory = min(max(running // 5, 1), 50)
    jobs = await logs.running(running)
    sealed = await logs.sealed(options.resumes + WARM)
    print(
        f"{running} running logs of {stored} events, {len(sealed)} sealed ones: "
        f"written in {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    wanted = min(options.resumes + WARM, running - memory)
    return Jobs(
        jobs[:memory],
        jobs[memory : memory + wanted],
        sealed,
        await logs.queued_in_each_shard(),
    )


async def one_round(
    nats: NatsServer, streaming: StreamingProcess, clients: Child, jobs: Jobs, options: Options
) -> dict[str, Turn]:
    port, stored = streaming.websocket_port, options.stored
    await clients.ask("hold", port=port, jobs=jobs.shards, events=0)
    await clients.ask("hold", port=port, jobs=jobs.memory, events=stored)
    again = (options.resumes + WARM) // len(jobs.memory) + 1
    kinds = {
        "in memory": (jobs.memory * again)[: options.resumes + WARM],
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
    problems = sum(answer["problems"].values())
    return Turn(waits[WARM:], without, cpu["streaming"], cores["others"], problems)
