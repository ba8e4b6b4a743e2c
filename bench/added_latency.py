"""What Tidegate adds to a direct streaming call, and what a token costs worker and streaming.

    python -m bench.added_latency [--jobs 100] [--rate 20] [--seconds 10] [--rounds 3]

Everything runs on this machine: `tidegate up` with its simulator, and this client. Both sides are
measured in one run, in turns: direct calls to the simulator, then the same load as jobs (POST
/v1/jobs, events over one WebSocket). Calls start on a schedule, and every time is counted from the
scheduled moment. A token's lateness is its arrival against the steadiest timetable (base plus
n / rate) that fits its stream, so what delays all tokens of a stream alike shows in the TTFT only.
A run whose tokens are not all there, once and in order, fails.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from bench._machine import describe
from tests.support.platform import Platform

_TTFT = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """Concurrent answers, tokens per second of each, seconds that each lasts."""

    jobs: int
    rate: float
    seconds: float

    @property
    def tokens(self) -> int:
        return int(self.rate * self.seconds)


@dataclass(slots=True)
class Figures:
    """Milliseconds: first tokens after the scheduled start, tokens behind the timetable."""

    ttft: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Answer:
    """One answer's arrivals."""

    scheduled: float
    arrivals: list[float] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    sequence: int = 0


def _ttft(figures: Figures) -> list[float]:
    return figures.ttft


def _late(figures: Figures) -> list[float]:
    return figures.late


_SERIES = (("TTFT", _ttft), ("token lateness", _late))


async def direct(
    base: str, session: aiohttp.ClientSession, load: Load, n: int, at: float
) -> Answer:
    answer = Answer(at)
    body = _request(load, n) | {"stream": True}
    async with session.post(f"{base}/v1/chat/completions", json=body) as response:
        async for line in response.content:
            if b'"delta":{"content":' in line:
                answer.arrivals.append(time.perf_counter())
    return answer


class Socket:
    """One WebSocket for all jobs of a round."""

    def __init__(self, http: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._http = http
        self._socket = socket
        self._answers: dict[str, Answer] = {}

    async def call(self, session: aiohttp.ClientSession, load: Load, n: int, at: float) -> Answer:
        answer = Answer(at)
        async with session.post(f"{self._http}/v1/jobs", json={"request": _request(load, n)}) as r:
            job = (await r.json())["id"]
        self._answers[job] = answer
        await self._socket.send_str(f'{{"type":"subscribe","job_id":"{job}","after_sequence":0}}')
        await answer.ended.wait()
        return answer

    async def read(self) -> None:
        async for message in self._socket:
            now = time.perf_counter()
            event = msgspec.json.decode(message.data)
            if event["type"] == "error":
                raise RuntimeError(event)
            answer = self._answers[event["job_id"]]
            if event["sequence"] != answer.sequence + 1:
                raise RuntimeError(f"sequence {event['sequence']} follows {answer.sequence}")
            answer.sequence = event["sequence"]
            if event["type"] == "delta":
                answer.arrivals.append(now)
            elif event["type"] == "completed":
                answer.ended.set()
            elif event["type"] != "attempt_started":
                raise RuntimeError(event)


def _request(load: Load, n: int) -> dict[str, object]:
    return {
        "model": "sim-small",
        "messages": [{"role": "user", "content": f"Question {n}: what does the tide do?"}],
        "max_tokens": load.tokens,
    }


async def one_round(
    call: Callable[[int, float], Awaitable[Answer]], load: Load, figures: Figures
) -> int:
    """Starts the calls evenly over a second; returns the tokens that came."""
    start = time.perf_counter() + 0.1

    async def scheduled(n: int) -> Answer:
        at = start + n / load.jobs
        await asyncio.sleep(at - time.perf_counter())
        return await call(n, at)

    answers = await asyncio.gather(*(scheduled(n) for n in range(load.jobs)))
    for answer in answers:
        if len(answer.arrivals) != load.tokens:
            raise RuntimeError(f"{len(answer.arrivals)} of {load.tokens} tokens")
        figures.ttft.append((answer.arrivals[0] - answer.scheduled - _TTFT) * 1000)
        offsets = [arrival - n / load.rate for n, arrival in enumerate(answer.arrivals)]
        base = min(offsets)
        figures.late.extend((offset - base) * 1000 for offset in offsets)
    return load.jobs * load.tokens


async def measure(load: Load, rounds: int) -> None:
    settings = {
        "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": str(load.rate),
        "TIDEGATE_SIMULATOR_TTFT_SECONDS": str(_TTFT),
    }
    with tempfile.TemporaryDirectory() as directory:
        async with Platform(Path(directory), "--no-cache", settings=settings) as platform:
            await _measure_on(platform, load, rounds)


async def _measure_on(platform: Platform, load: Load, rounds: int) -> None:
    simulator = f"http://127.0.0.1:{platform.port('simulator')}"
    socket_url = f"http://127.0.0.1:{platform.port('streaming WebSocket')}/v1/ws"
    services = ("worker", "streaming", "gateway", "nats", "simulator")
    cpu: dict[str, list[float]] = {service: [] for service in services}
    plain, through = [], []
    headers = {"Authorization": "Bearer tidegate-dev"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        for index in range(rounds + 1):
            figures = Figures()
            await one_round(partial(direct, simulator, session, load), load, figures)
            plain.append(figures)
            async with session.ws_connect(socket_url, protocols=("tidegate.v1",)) as connected:
                socket = Socket(platform.url, connected)
                reading = asyncio.create_task(socket.read())
                figures = Figures()
                before = {s: _cpu_seconds(platform.pid_of(s)) for s in services}
                tokens = await one_round(partial(socket.call, session, load), load, figures)
                for service in services:
                    spent = _cpu_seconds(platform.pid_of(service)) - before[service]
                    cpu[service].append(spent / tokens * 1e6)
                through.append(figures)
                reading.cancel()
            print(f"round {index or 'for warming up'}: {tokens} tokens, all in order", flush=True)
    _print(load, plain[1:], through[1:], {s: values[1:] for s, values in cpu.items()})


def _print(
    load: Load, plain: list[Figures], through: list[Figures], cpu: dict[str, list[float]]
) -> None:
    print(f"\n{describe()}")
    print(f"{load.jobs} jobs x {load.rate:g} tokens/s, {load.tokens} tokens each; median of rounds")
    print(f"{'':28}{'p50':>10}{'p95':>10}{'p99':>10}")
    for name, pick in _SERIES:
        for side, runs in (("direct", plain), ("Tidegate", through)):
            row = [_median([_quantile(pick(run), q) for run in runs]) for q in (0.5, 0.95, 0.99)]
            print(f"{name + ', ' + side:28}" + "".join(f"{value:7.1f} ms" for value in row))
        added = [
            _median(
                [
                    _quantile(pick(b), q) - _quantile(pick(a), q)
                    for a, b in zip(plain, through, strict=True)
                ]
            )
            for q in (0.5, 0.95, 0.99)
        ]
        print(f"{name + ', added':28}" + "".join(f"{value:+7.1f} ms" for value in added))
    print("\nCPU per streamed token, median (least to most of the rounds)")
    for service, values in cpu.items():
        print(f"  {service:10}{_median(values):7.1f} us   ({min(values):.1f} to {max(values):.1f})")


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * q), len(ordered) - 1)]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    uvloop.run(measure(Load(chosen.jobs, chosen.rate, chosen.seconds), chosen.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
