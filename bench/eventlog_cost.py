"""What the event log costs, beside what it is built from.

    python -m bench.eventlog_cost                # 1,000 jobs of 10 events a second, and saturated

Writer and reader are processes of their own beside a real nats-server, all on this machine. The
log's writer (group commit, fence, settlement) stands beside a bare core publish, which stores
nothing, and the client library's own JetStream publish with the same fence; the log's reader
beside a bare subscription that only counts. All take turns within each round, so that a busy
machine is busy for all of them; given are the medians over the rounds and how far they lie apart.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from bench._machine import describe
from tests.support.nats_server import NatsServer
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.nats_client import NatsClient
from tidegate.eventlog.streams import StreamOptions, apply_streams

ROOT = Path(__file__).parents[1]
# (writer, reader): who sends and who listens in one turn.
TURNS = [("log", "log"), ("log", "core"), ("library", "core"), ("core", None)]
Figures = dict[str, dict[str, list[float]]]


class Role:
    """One child process that answers commands."""

    def __init__(self, name: str, url: str) -> None:
        self._arguments = [sys.executable, "-m", "bench._eventlog_roles", name, url]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"},
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended on {what}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Bench:
    """The processes of one run, and the phase that job ids are made from."""

    jetstream: JetStream
    writer: Role
    reader: Role
    phase: int = 0

    async def turn(
        self, ways: tuple[str, str | None], jobs: int, rate: float, seconds: float, figures: Figures
    ) -> None:
        """One way of writing, with one of reading where there is one, on fresh logs."""
        self.phase += 1
        writing, reading = ways
        await self.writer.ask("prepare", way=writing, phase=self.phase, jobs=jobs)
        if reading is not None:
            await self.reader.ask("prepare", way=reading, phase=self.phase, jobs=jobs)
            await self.reader.ask("begin")
        wrote = await self.writer.ask("run", rate=rate, seconds=seconds)
        if reading is not None:
            read = await self.reader.ask("end", settle=0.1)
            if writing == "log":
                add(figures, f"read {reading}", read)
            if reading == "log" and rate and read["events"] < wrote["events"]:
                raise RuntimeError(f"read {read['events']} of {wrote['events']} events")
        # Whoever reads takes from the same cores: only equals stand beside each other.
        beside = " (log reads)" if reading == "log" else ""
        add(figures, f"write {writing}{beside}", wrote)
        await self.jetstream.api("STREAM.PURGE.EVENTS")


def add(figures: Figures, name: str, answer: dict[str, Any]) -> None:
    for key, value in answer.items():
        figures[name][key].append(value)


def new_figures() -> Figures:
    return defaultdict(lambda: defaultdict(list))


def show(title: str, figures: Figures) -> None:
    print(f"\n{title}")
    print(f"{'':>22}{'events/s':>10}{'CPU us/event':>23}{'ack p50 ms':>24}{'ack p99 ms':>24}")
    for name in sorted(figures, reverse=True):
        row = figures[name]
        rate = f"{statistics.median(row['rate']):,.0f}" if row["rate"] else ""
        cells = "".join(
            f"{spread(row[key]):>{width}}"
            for key, width in (("cpu_us", 23), ("p50_ms", 24), ("p99_ms", 24))
        )
        print(f"{name:>22}{rate:>10}{cells}")


def spread(values: list[float]) -> str:
    """Median and range."""
    if not values:
        return ""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


async def measure(options: argparse.Namespace) -> None:
    print(describe())
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        async with NatsServer(Path(directory)) as server:
            client = NatsClient()
            await client.connect(server.url)
            jetstream = JetStream(client, timeout=10.0)
            await jetstream.start()
            await apply_streams(jetstream, StreamOptions())
            async with Role("writer", server.url) as writer, Role("reader", server.url) as reader:
                await rounds(Bench(jetstream, writer, reader), options)
            await client.close()
    print(f"\n{options.rounds} rounds, {time.monotonic() - begun:.0f} s in all")


async def rounds(bench: Bench, options: argparse.Namespace) -> None:
    even, full = new_figures(), new_figures()
    # The first turn of a process pays for imports and growing buffers.
    await bench.turn(TURNS[0], 50, 10, 0.5, new_figures())
    for _ in range(options.rounds):
        for ways in TURNS:
            await bench.turn(ways, options.jobs, options.rate, options.seconds, even)
        for ways in TURNS:
            if ways != TURNS[0]:
                await bench.turn((ways[0], None), options.in_flight, 0, options.seconds / 2, full)
    show(f"{options.jobs} jobs x {options.rate:g} events/s, paced (the log groups)", even)
    show(f"saturated, {options.in_flight} in flight", full)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="events a second of each job")
    parser.add_argument("--in-flight", type=int, default=256, help="jobs when saturated")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
