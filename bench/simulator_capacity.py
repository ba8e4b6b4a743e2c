"""How many streams the simulator carries in one process on one core, and how late their tokens are.

    python -m bench.simulator_capacity --streams 2000 --rate 10

The simulator runs as a process of its own, pinned to one core, this client to another. Lateness is
measured twice: by the simulator against each token's own deadline, and here, at the other end of
the socket, against the steadiest schedule that fits the stream: a stream's base is the smallest of
(arrival - index / rate), so a client cannot see lateness that all tokens of a stream share. That
part is in the time to first token, which is counted from the request's sending.
"""

import argparse
import asyncio
import os
import platform
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
import uvloop

ROOT = Path(__file__).parents[1]
SERVER = """
import sys
from tidegate.simulator.app import run
sys.exit(run())
"""
MARK = b'"delta":{"content":'


@dataclass(frozen=True)
class Load:
    streams: int
    rate: float
    seconds: float
    ramp: float
    ttft: float

    @property
    def tokens(self) -> int:
        return int(self.rate * self.seconds)


class Reader(asyncio.Protocol):
    """Counts the events of one stream and keeps when each token came; parses nothing."""

    def __init__(self, request: bytes, ended: asyncio.Future[None]) -> None:
        self.request = request
        self.ended = ended
        self.sent_at = 0.0
        self.arrivals = array("d")
        self.complete = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sent_at = time.monotonic()
        cast(asyncio.Transport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        # A mark may come in two pieces; the tail is too short to hold a whole one twice.
        data = self._tail + data
        self.arrivals.extend([now] * data.count(MARK))
        self._tail = data[1 - len(MARK) :]
        if b"[DONE]" in data[-64:]:
            self.complete = True
            if not self.ended.done():
                self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(port: int, load: Load) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "services"),
        "TIDEGATE_SIMULATOR_LISTEN": f"127.0.0.1:{port}",
        "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": str(load.rate),
        "TIDEGATE_SIMULATOR_TTFT_SECONDS": str(load.ttft),
        "TIDEGATE_LOG_LEVEL": "warning",
        "TIDEGATE_DRAIN_SECONDS": "2",
    }
    server = subprocess.Popen([sys.executable, "-c", SERVER], env=environment)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(server.pid, cores[:1])
        os.sched_setaffinity(0, cores[1:] or cores)
    return server


async def ready(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Sample:
    """The server's account at one moment."""

    at: float
    cpu: float
    tokens: int
    running: int


async def sample(session: aiohttp.ClientSession) -> Sample:
    async with session.get("/metrics") as answer:
        text = await answer.text()

    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found.group(1)) if found else float("nan")

    return Sample(
        time.monotonic(),
        value("process_cpu_seconds_total"),
        int(value("tidegate_simulator_tokens_total")),
        int(value("tidegate_simulator_calls_running")),
    )


def request_bytes(number: int, load: Load, port: int) -> bytes:
    body = (
        '{"model":"sim-small","stream":true,"stream_options":{"include_usage":true},'
        f'"max_tokens":{load.tokens},"messages":[{{"role":"user","content":"stream {number}"}}]}}'
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def _same(reader: Reader) -> Reader:
    return reader


async def open_streams(load: Load, port: int) -> list[Reader]:
    loop = asyncio.get_running_loop()
    begun, readers, opening = time.monotonic(), [], []
    for number in range(load.streams):
        behind = begun + load.ramp * number / load.streams - time.monotonic()
        if behind > 0:
            await asyncio.sleep(behind)
        reader = Reader(request_bytes(number, load, port), loop.create_future())
        readers.append(reader)
        connecting = loop.create_connection(partial(_same, reader), "127.0.0.1", port)
        opening.append(asyncio.ensure_future(connecting))
    await asyncio.gather(*opening)
    return readers


def percentiles(values: list[float]) -> str:
    values.sort()
    picks = [values[min(int(len(values) * share), len(values) - 1)] for share in (0.5, 0.95, 0.99)]
    picks.append(values[-1])
    return " / ".join(f"{value * 1000:.2f}" for value in picks)


def report_client(load: Load, readers: list[Reader]) -> None:
    lateness: list[float] = []
    drift: list[float] = []
    for reader in readers:
        offsets = [at - index / load.rate for index, at in enumerate(reader.arrivals)]
        if not offsets:
            continue
        base = min(offsets)
        lateness.extend(offset - base for offset in offsets)
        tenth = max(len(offsets) // 10, 1)
        drift.append(sum(offsets[-tenth:]) / tenth - sum(offsets[:tenth]) / tenth)
    first = [r.arrivals[0] - r.sent_at - load.ttft for r in readers if r.arrivals]
    exact = sum(len(reader.arrivals) == load.tokens and reader.complete for reader in readers)
    print(f"whole streams              {exact} of {load.streams}, each {load.tokens} tokens")
    mute = sum(not reader.arrivals for reader in readers)
    print(f"not whole                  {mute} never answered, {len(readers) - exact - mute} broken")
    print(f"TTFT over plan, ms         {percentiles(first)}  (p50 / p95 / p99 / max)")
    print(f"lateness at client, ms     {percentiles(lateness)}  (p50 / p95 / p99 / max)")
    print(f"drift, last - first tenth  {sum(drift) / len(drift) * 1000:+.3f} ms on average")


async def measure(load: Load, port: int) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await ready(session)
        readers = await open_streams(load, port)
        own = resource.getrusage(resource.RUSAGE_SELF)
        before = await sample(session)
        await asyncio.sleep(max(load.seconds - load.ramp - load.ttft - 1.0, 1.0))
        after = await sample(session)
        own_after = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.gather(*(reader.ended for reader in readers))
        async with session.get("/stats", params={"request_id": "none"}) as answer:
            stats = await answer.json()
    seconds, tokens = after.at - before.at, after.tokens - before.tokens
    cpu = after.cpu - before.cpu
    own_cpu = own_after.ru_utime + own_after.ru_stime - own.ru_utime - own.ru_stime
    late = stats["lateness_ms"]
    print(f"running in the window      {before.running} to {after.running}, {seconds:.1f} s")
    print(f"tokens per second          {tokens / seconds:,.0f}")
    print(f"CPU per token              {cpu / tokens * 1e6:.1f} us ({cpu / seconds:.0%} of a core)")
    print(f"client's CPU per token     {own_cpu / tokens * 1e6:.1f} us")
    print(f"lateness in server, ms     {late['p50']} / {late['p95']} / {late['p99']}")
    counts = ", ".join(f"{stats[name]} {name}" for name in ("completed", "aborted", "failed"))
    print(f"server's account           {counts}")
    report_client(load, readers)


def describe_machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*: (.+)", info.read_text(encoding="utf-8"))
        model = found.group(1) if found else model
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load average {load:.2f}"
    )


def parse() -> Load:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0, help="tokens per second of each stream")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each stream")
    parser.add_argument("--ramp", type=float, default=3.0, help="seconds over which they begin")
    parser.add_argument("--ttft", type=float, default=0.2)
    return Load(**vars(parser.parse_args()))


def main() -> None:
    load, port = parse(), free_port()
    print(f"machine                    {describe_machine()}")
    print(f"load                       {load.streams} streams x {load.rate} tokens/s")
    server = start_server(port, load)
    try:
        uvloop.run(measure(load, port))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)


if __name__ == "__main__":
    main()
