"""What a token costs the worker's process on its way from the provider, ways beside each other.

    python -m bench.provider_stream --streams 300 --rate 20

The simulator runs in a process of its own. For each way in turn, all streams run at the same pace
through one client; a token's cost is this process's CPU time from the first request to the last
answer, over all tokens. Lateness is that of a token against its stream's own steady schedule.

The ways: aiohttp alone, which counts tokens and reads nothing; the model client of
`tidegate.providers`; the same up to the encoded event that goes into the log; the `openai`
package's own streaming over its aiohttp transport, and over its default one.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import msgspec
import openai
import uvloop

from bench._machine import describe
from tests.support.ports import free_port
from tidegate.contracts.events import Delta, encode_event
from tidegate.providers.chat_stream import ChatClient
from tidegate.providers.endpoint import Endpoint
from tidegate.providers.routes import Target

ROOT = Path(__file__).parents[1]
SERVER = "import sys; from tidegate.simulator.app import run; sys.exit(run())"
MARK = b'"delta":{"content":'
# One token's arrival: what a way calls for each.
Tick = Callable[[], None]


@dataclass(frozen=True)
class Load:
    streams: int
    rate: float
    seconds: float

    @property
    def tokens(self) -> int:
        return int(self.rate * self.seconds)

    def body(self, number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"stream {number}"}]
        return {"model": "sim-small", "messages": messages, "max_tokens": self.tokens}


class Way:
    """One way to read streams; `stream` runs one and ticks for each token."""

    def __init__(self, name: str, stream: Callable[[int, Tick], Awaitable[None]]) -> None:
        self.name = name
        self.stream = stream


def ours(
    name: str, client: ChatClient, target: Target, load: Load, take: Callable[[Delta], object]
) -> Way:
    async def stream(number: int, tick: Tick) -> None:
        def on_delta(delta: Delta) -> None:
            take(delta)
            tick()

        body = msgspec.json.encode(load.body(number))
        await client.stream(target, body, on_delta, headers={"x-tidegate-job": f"job_{number}"})

    return Way(name, stream)


def stock(name: str, client: openai.AsyncOpenAI, load: Load) -> Way:
    async def stream(number: int, tick: Tick) -> None:
        chunks = await client.chat.completions.create(
            **load.body(number), stream=True, stream_options={"include_usage": True}
        )
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                tick()

    return Way(name, stream)


def floor(name: str, url: str, session: aiohttp.ClientSession, load: Load) -> Way:
    async def stream(number: int, tick: Tick) -> None:
        body = load.body(number) | {"stream": True}
        async with session.post(f"{url}/chat/completions", json=body) as response:
            async for data in response.content.iter_any():
                for _ in range(data.count(MARK)):
                    tick()

    return Way(name, stream)


@asynccontextmanager
async def simulator(load: Load) -> AsyncIterator[str]:
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "services"),
        "TIDEGATE_SIMULATOR_LISTEN": f"127.0.0.1:{port}",
        "TIDEGATE_SIMULATOR_TOKENS_PER_SECOND": str(load.rate),
        "TIDEGATE_LOG_LEVEL": "warning",
    }
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, env=environment)
    try:
        await until_ready(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        await server.wait()


async def until_ready(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Figures:
    """`cost` in microseconds of CPU per token, `late` in milliseconds per token, sorted."""

    cost: float
    late: list[float]
    whole: int


async def measure(way: Way, load: Load) -> Figures:
    arrivals = [array("d") for _ in range(load.streams)]

    async def run(number: int) -> None:
        # Spread over the time between two tokens, or all tokens would come at the same moment.
        await asyncio.sleep(number / load.streams / load.rate)
        mine = arrivals[number]
        await way.stream(number, lambda: mine.append(time.monotonic()))

    begun = time.process_time()
    await asyncio.gather(*(run(number) for number in range(load.streams)))
    spent = time.process_time() - begun
    late: list[float] = []
    for each in arrivals:
        offsets = [at - index / load.rate for index, at in enumerate(each)]
        late += [1000 * (offset - min(offsets)) for offset in offsets]
    whole = sum(len(each) == load.tokens for each in arrivals)
    return Figures(spent / sum(map(len, arrivals)) * 1e6, sorted(late), whole)


def report(way: Way, rounds: list[Figures], load: Load) -> None:
    costs = [each.cost for each in rounds]
    late = sorted(value for each in rounds for value in each.late)
    p50, p95, p99 = (late[int(len(late) * share)] for share in (0.5, 0.95, 0.99))
    broken = load.streams * len(rounds) - sum(each.whole for each in rounds)
    print(
        f"{way.name:40} {statistics.median(costs):6.1f} µs ({min(costs):.1f} to {max(costs):.1f})  "
        f"{p50:6.2f} / {p95:6.2f} / {p99:6.2f} ms{f'   {broken} BROKEN' if broken else ''}"
    )


async def compare(load: Load, rounds: int) -> None:
    print(describe())
    print(f"{load.streams} streams x {load.rate:g} tokens/s x {load.seconds:g} s, {rounds} rounds")
    print("way: CPU per token, median (range) of the rounds; lateness p50 / p95 / p99")
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with simulator(load) as url:
        endpoint = Endpoint(url, connect=5.0, concurrency=load.streams)
        client = ChatClient(endpoint)
        target = Target("simulator", url, "sim-small")
        fast, default = (
            openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0, http_client=http)
            for http in (
                openai.DefaultAioHttpClient(limits=limits),
                openai.DefaultAsyncHttpxClient(limits=limits),
            )
        )
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        ways = [
            floor("aiohttp alone", url, session, load),
            ours("tidegate.providers", client, target, load, lambda _: None),
            ours("tidegate.providers, to the encoded event", client, target, load, encode_event),
            stock("openai, aiohttp transport", fast, load),
            stock("openai, default transport", default, load),
        ]
        figures: dict[str, list[Figures]] = {way.name: [] for way in ways}
        for way in ways:  # imports and first connections are not what is measured
            await measure(way, Load(2, load.rate, 1))
        for _ in range(rounds):
            for way in ways:
                figures[way.name].append(await measure(way, load))
        for way in ways:
            report(way, figures[way.name], load)
        for each in (endpoint, fast, default, session):
            await each.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="tokens per second of each")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    uvloop.run(compare(Load(given.streams, given.rate, given.seconds), given.rounds))


if __name__ == "__main__":
    main()
