"""What bench/retained.py measures before and after: jobs, and resumes of sealed logs."""

from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Final

from bench._child import Answer, Child, Costs, calm, quantile
from bench._latency_calls import Load
from bench._latency_world import World
from bench._retained_fill import EVENTS

LOAD: Final = "bench._latency_load"
READERS: Final = "bench._resume_clients"
# 20 jobs a second of 20 tokens each, and as many resumes.
JOBS: Final = Load(80, 100.0, 20, 4.0, 0.0, "")
_RATE: Final = 20.0
# Answers that are thrown away: the first ones pay for what is made once.
WARM: Final = 10
RESUMES: Final = 70 + WARM
_PATIENCE: Final = 20.0
_QUANTILES: Final = (0.5, 0.95, 0.99)
# What the load says of its jobs, by the names that are shown.
_JOB_FIGURES: Final = {"create": "create", "first token": "first", "whole job": "whole"}
SERIES: Final = (*_JOB_FIGURES, "resume, sealed")
_numbers = count()


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds at p50, p95 and p99 of each series, and cores that others kept busy."""

    ms: dict[str, list[float]]
    others: float


@dataclass(frozen=True, slots=True)
class Clients:
    """The processes that ask."""

    load: Child
    readers: Child


async def take_turn(world: World, clients: Clients, sealed: list[str]) -> Turn:
    """Jobs and then resumes of these logs, both counted from when they were due.

    Raises:
        RuntimeError: an answer was not right, or there was none.
    """
    costs = Costs(world.pids | {"load": clients.load.pid, "readers": clients.readers.pid})
    jobs = await _jobs(world, clients.load)
    resumed = await clients.readers.ask(
        "resume",
        port=world.ports["websocket"],
        jobs=sealed,
        after=1,
        events=EVENTS - 1,
        rate=_RATE,
    )
    others = costs.cores()["others"]
    waits = resumed["waits"]
    if resumed["problems"] or len(waits) != len(sealed):
        raise RuntimeError(f"{len(waits)} of {len(sealed)} resumes, {resumed['problems']}")
    ms = {title: [float(ms) for ms in jobs[name]] for title, name in _JOB_FIGURES.items()}
    ms["resume, sealed"] = [quantile(waits[WARM:], q) for q in _QUANTILES]
    return Turn(ms, others)


async def _jobs(world: World, load: Child) -> Answer:
    asked = asdict(replace(JOBS, name=f"turn-{next(_numbers)}-"))
    await load.ask("prepare", load=asked, ports=world.ports)
    await load.ask("run", patience=_PATIENCE)
    answer = await load.ask("judge")
    if answer["faults"]:
        raise RuntimeError(f"{answer['faults']} jobs, such as {answer['told']}")
    return answer


def counted(turns: list[Turn]) -> list[Turn]:
    """Without those that other work disturbed, where one was left alone."""
    return calm(turns)
