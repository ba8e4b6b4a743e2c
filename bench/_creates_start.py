"""How soon an accepted job starts: the acknowledgement of its create against its log.

The log says in whole milliseconds, cut off, when the worker began the attempt; half of one is added
to each, so that the mean is right. All clocks are this machine's.
"""

from dataclasses import dataclass, field

from bench._child import Answer, Child, Costs, quantile
from bench._creates_world import World
from tidegate.chassis.jetstream import JetStream
from tidegate.contracts.events import AttemptStarted, Completed, Terminal, decode_event
from tidegate.contracts.seal import replay
from tidegate.contracts.subjects import EVENTS_ALL, EVENTS_STREAM, tenant_and_job

# Jobs of an overloaded turn have to end before the next one.
_DRAIN_SECONDS = 60.0


@dataclass(slots=True)
class Log:
    """What one job's log says; times in epoch milliseconds."""

    started: float = 0.0
    attempts: int = 0
    end: str = ""
    queued: float = 0.0


@dataclass(slots=True)
class Starts:
    """One turn. Waits in milliseconds: from the acknowledgement, and `timings.queued_ms`."""

    rate: float
    after_ack: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    growth: float = 0.0
    lost: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    load: Answer = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def kept_up(self) -> bool:
        """Whether jobs of the end waited about as long as jobs of the beginning."""
        return not self.lost and self.growth < 20.0

    @property
    def others(self) -> float:
        return self.cores["others"]

    @property
    def problems(self) -> dict[str, int]:
        """What became of creates and jobs that was not to become of them."""
        ends = {end: number for end, number in self.ends.items() if end != "completed"}
        lost = {"lost": self.lost} if self.lost else {}
        refused: dict[str, int] = self.load["problems"]
        return refused | ends | lost

    def p(self, q: float) -> float:
        return quantile(self.after_ack, q)


async def turn(world: World, load: Child, rate: float, seconds: float, prompt_bytes: int) -> Starts:
    """Creates at a rate over HTTP, waits until all jobs have ended, and reads their logs."""
    costs = Costs(world.pids | {"load": load.pid})
    answer = await load.ask(
        "pace",
        surface="http",
        port=world.ports["http"],
        rate=rate,
        seconds=seconds,
        prompt_bytes=prompt_bytes,
        keep=True,
    )
    cores = costs.cores()
    left = await world.until_done(_DRAIN_SECONDS)
    starts = Starts(rate, load=answer, cores=cores, cpu=costs.each(answer["created"]))
    acks: list[tuple[str, float]] = answer.pop("acks")
    logs = await read_logs(world.peer.jetstream)
    for job_id, acked in acks:
        _count(starts, logs.get(job_id), acked)
    starts.growth = _growth(starts.after_ack)
    if left:
        print(f"{left} jobs were left after {_DRAIN_SECONDS:g} s")
    await world.purge()
    return starts


async def read_logs(jetstream: JetStream) -> dict[str, Log]:
    """Every log that is stored, by job id."""
    logs: dict[str, Log] = {}
    position, pending = 1, 1
    while pending:
        batch = await jetstream.direct_batch(EVENTS_STREAM, EVENTS_ALL, position)
        for stored in batch.messages:
            _read(logs.setdefault(tenant_and_job(stored.subject)[1], Log()), stored.payload)
        pending = batch.pending if batch.messages else 0
        position = batch.messages[-1].sequence + 1 if batch.messages else position
    return logs


def _read(log: Log, payload: bytes) -> None:
    for line in replay(payload):
        for raw in line.events:
            event = decode_event(raw)
            if isinstance(event, AttemptStarted):
                log.attempts += 1
                log.started = log.started or line.at_ms + 0.5
            elif isinstance(event, Terminal):
                log.end = str(event.__struct_config__.tag)
                log.queued = event.timings.queued_ms if isinstance(event, Completed) else 0.0


def _count(starts: Starts, log: Log | None, acked: float) -> None:
    if log is None or not log.end:
        starts.lost += 1
        return
    starts.ends[log.end] = starts.ends.get(log.end, 0) + 1
    starts.attempts += log.attempts
    starts.after_ack.append(log.started - acked)
    starts.queued.append(log.queued)


def _growth(waits: list[float]) -> float:
    """By how much the median of the last fifth is over that of the first, in milliseconds."""
    fifth = max(len(waits) // 5, 1)
    return quantile(waits[-fifth:], 0.5) - quantile(waits[:fifth], 0.5)
