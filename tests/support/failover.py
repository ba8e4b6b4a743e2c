"""A platform with three workers between two providers, each a simulator of its own process.

    async with TwoProviders(tmp_path) as world:
        await world.first.kill()                    # and `world.first.revive()`
        made = await world.ask("What then?")
        assert made == world.second.says("What then?")

The providers answer the same question with different words, so that an answer tells who gave it.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any, Self

import aiohttp
from openai import AsyncOpenAI

from tests.support.clients import KEY, Simulator
from tests.support.platform import Platform
from tests.support.ports import free_port
from tests.support.services import ServiceProcess
from tidegate.cli.up.plan import UpOptions, ports_needed
from tidegate.simulator.answer import answer

TOKENS = 12
_WORKERS = 3
_PATIENCE = 60.0
_MODELS = ("sim-both", "sim-alone", "sim-stalled", "sim-silent", "sim-same")
_TIMEOUTS = "{connect: 2, first_token: 1, between_tokens: 1, total: 60}"


class Provider(ServiceProcess):
    """A simulator that can be killed and comes back at the same address."""

    def __init__(self, directory: Path, seed: int) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.control = Simulator(self.url)
        self._seed = seed
        super().__init__(
            "simulator",
            directory,
            port,
            TIDEGATE_SIMULATOR_LISTEN=f"127.0.0.1:{port}",
            TIDEGATE_SIMULATOR_SEED=str(seed),
            TIDEGATE_SIMULATOR_MODELS=",".join(_MODELS),
            TIDEGATE_SIMULATOR_TTFT_SECONDS="0.02",
            TIDEGATE_SIMULATOR_TOKENS_PER_SECOND="400",
        )

    async def revive(self) -> None:
        """As it was when it was made."""
        await self.launch()
        await self.until_ready()

    def says(self, question: str, tokens: int = TOKENS) -> str:
        """Its answer."""
        return answer(self._seed, messages(question), tokens).text()


class TwoProviders(Platform):
    """`sim-both` goes to the first and then to the second; `sim-alone` to the first only."""

    def __init__(self, directory: Path) -> None:
        routes = directory / "routes.yaml"
        self.first, self.second = Provider(directory, 1), Provider(directory, 2)
        # Named a provider, `up` starts no simulator; the routes file says what is called.
        unused = ("--base-url", "http://127.0.0.1:9/v1", "--model", "unused")
        options = ("--workers", str(_WORKERS), "--no-cache", "--routes", str(routes))
        super().__init__(directory, *options, *unused)
        routes.write_text(_routes(self.first.url, self.second.url), encoding="utf-8")
        self._stack = contextlib.AsyncExitStack()

    def client(self, **options: Any) -> AsyncOpenAI:
        """openai-py as it is installed."""
        usual: dict[str, Any] = {"base_url": f"{self.url}/v1", "api_key": KEY, "max_retries": 0}
        return AsyncOpenAI(**(usual | options))

    async def ask(self, question: str, model: str = "sim-both", **options: Any) -> str:
        """The answer in one piece."""
        async with self.client(**options) as client:
            made = await client.chat.completions.create(
                model=model, messages=messages(question), max_tokens=TOKENS
            )
        return made.choices[0].message.content or ""

    async def embed(self, text: str) -> list[float]:
        """The embedding of a text."""
        async with self.client() as client:
            made = await client.embeddings.create(model="sim-embedding", input=text)
        return made.data[0].embedding

    async def until_open(self, model: str) -> None:
        """Returns when every worker has heard that nobody may call the first's model."""
        line = f'{{model="{model}",provider="first"}} 2.0'
        ports = ports_needed(UpOptions(self.data, self.offset, workers=_WORKERS), simulator=False)
        async with asyncio.timeout(_PATIENCE), aiohttp.ClientSession() as session:
            for port in [ports[name] for name in ports if name.startswith("worker")]:
                while line not in await self._metrics(session, port):
                    await asyncio.sleep(0.02)

    async def _metrics(self, session: aiohttp.ClientSession, port: int) -> str:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            return await response.text()

    async def reset(self) -> None:
        """Both live, without faults, and nothing counted."""
        for provider in (self.first, self.second):
            await provider.control.reset()

    async def __aenter__(self) -> Self:
        try:
            for provider in (self.first, self.second):
                await self._stack.enter_async_context(provider)
            return await super().__aenter__()
        except BaseException:
            await self._stack.aclose()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        await super().__aexit__(*exc_info)
        await self._stack.aclose()


def messages(question: str) -> Any:
    """A conversation of one question."""
    return [{"role": "user", "content": question}]


def _routes(first: str, second: str) -> str:
    both = "{queue: default, targets: [{provider: first}, {provider: second}]}"
    alone = "{queue: default, targets: [{provider: first}]}"
    return f"""
providers:
  first: {{base_url: '{first}/v1', timeouts: {_TIMEOUTS}}}
  second: {{base_url: '{second}/v1', timeouts: {_TIMEOUTS}}}
models:
  sim-both: {both}
  sim-stalled: {both}
  sim-silent: {both}
  sim-same: {alone}
  sim-alone:
    queue: default
    targets: [{{provider: first, timeouts: {{first_token: 30}}}}]
  sim-embedding: {{kind: embeddings, targets: [{{provider: first}}, {{provider: second}}]}}
"""


async def gathered(*asking: Any) -> list[Any]:
    """What came of each: an answer, or what was raised."""
    return await asyncio.gather(*asking, return_exceptions=True)
