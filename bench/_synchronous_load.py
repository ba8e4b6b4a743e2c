"""The users of bench.synchronous: each asks once, at its scheduled moment, and notes what it got.

All times are counted from the scheduled moment, so that a server that is late, or a load generator
that is, cannot hide it. A time-out of the client's stands for that of a proxy: so long for a
response to begin, and between reads. Nobody repeats anything, on any side.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final

import aiohttp
import msgspec

from tidegate.simulator.answer import answer

_SEED: Final = 1
_HEADERS: Final = {"Authorization": "Bearer tidegate-dev"}
_PROGRESS_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Tokens of an answer and how they come; seconds of everything else."""

    tokens: int
    ttft: float
    rate: float
    arrival: float
    proxy_timeout: float
    round_bound: float

    @property
    def call_seconds(self) -> float:
        return self.ttft + (self.tokens - 1) / self.rate


@dataclass(slots=True)
class Asked:
    """A user's question and what came of it: seconds after `at`, infinite for never.

    `late` is how long after it the load generator began.
    """

    number: int
    tokens: int
    at: float
    late: float = 0.0
    reply: float = inf
    first: float = inf
    whole: float = inf
    error: str = ""
    wrong: bool = False
    attempts: int = 1
    sequence: int = 0
    _parts: list[str] = field(default_factory=list)

    @property
    def question(self) -> str:
        return f"Question {self.number}: what does the tide do?"

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}]

    @property
    def ended(self) -> bool:
        return self.whole < inf or self.error != ""

    def elapsed(self) -> float:
        return time.perf_counter() - self.at

    def add(self, text: str) -> None:
        if self.first == inf:
            self.first = self.elapsed()
        self._parts.append(text)

    def forget(self) -> None:
        """Another attempt begins anew."""
        self._parts.clear()

    def finish(self) -> None:
        """Raises WrongError unless the text is what the simulator says to this question."""
        if "".join(self._parts) != answer(_SEED, self.messages, self.tokens).text():
            raise WrongError("wrong text")
        self.whole = self.elapsed()


class BrokenError(Exception):
    """Why there is no answer, in the words of the table."""


class WrongError(BrokenError):
    """A token was lost, doubled or out of order."""


class _Event(msgspec.Struct):
    """What is read of a Tidegate event."""

    sequence: int
    type: str
    data: str = ""
    attempt: int = 1
    continues: bool = False
    reason: str = ""


# How one user asks one side.
Ask = Callable[[aiohttp.ClientSession, Asked], Awaitable[None]]


async def ask_whole(base: str, session: aiohttp.ClientSession, asked: Asked) -> None:
    """The synchronous handler: nothing, then everything."""
    async with session.post(f"{base}/ask", json=_question(asked)) as response:
        _expect(response, 200)
        text = (await response.json())["text"]
    asked.reply = asked.elapsed()
    asked.add(text)
    asked.finish()


async def ask_streamed(base: str, session: aiohttp.ClientSession, asked: Asked) -> None:
    """The handler that passes tokens on; its reply is the beginning of its response."""
    async with session.post(f"{base}/stream", json=_question(asked)) as response:
        _expect(response, 200)
        asked.reply = asked.elapsed()
        async for data in _events(response):
            asked.add(msgspec.json.decode(data, type=str))
    asked.finish()


async def ask_job(base: str, session: aiohttp.ClientSession, asked: Asked) -> None:
    """Tidegate: the 202 is the reply; events over SSE, from where the job says."""
    request = {"model": "sim-small", "messages": asked.messages, "max_tokens": asked.tokens}
    async with session.post(f"{base}/v1/jobs", json={"request": request}) as response:
        _expect(response, 202)
        job = await response.json()
    asked.reply = asked.elapsed()
    async with session.get(job["links"]["events"]) as response:
        _expect(response, 200)
        async for data in _events(response):
            _follow(asked, msgspec.json.decode(data, type=_Event))
    if not asked.ended:
        raise BrokenError("cut")


def _follow(asked: Asked, event: _Event) -> None:
    if event.sequence != asked.sequence + 1:
        raise WrongError(f"sequence {event.sequence} after {asked.sequence}")
    asked.sequence = event.sequence
    if event.type == "delta":
        asked.add(event.data)
    elif event.type == "attempt_started":
        asked.attempts = event.attempt
        if not event.continues:
            asked.forget()
    elif event.type == "completed":
        asked.finish()
    elif event.type != "waiting":
        raise BrokenError(f"job {event.type}, {event.reason}")


def _question(asked: Asked) -> dict[str, object]:
    return {"text": asked.question, "max_tokens": asked.tokens}


def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status != status:
        raise BrokenError(f"status {response.status}")


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of server-sent events, each of one line; comments are skipped."""
    rest = b""
    async for piece in response.content.iter_any():
        *whole, rest = (rest + piece).split(b"\n\n")
        for event in whole:
            _, mark, data = event.rpartition(b"data: ")
            if mark:
                yield data


def make_session(proxy_timeout: float) -> aiohttp.ClientSession:
    """Users have connections of their own: none is kept for the next one."""
    return aiohttp.ClientSession(
        headers=_HEADERS,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=proxy_timeout, sock_read=proxy_timeout
        ),
    )


async def ask_all(ask: Ask, load: Load, users: int, name: str) -> list[Asked]:
    """The users, arriving evenly; returns when each has its answer, or an error."""
    start = time.perf_counter() + 0.5
    asked = [
        Asked(number, load.tokens, start + number * load.arrival / users) for number in range(users)
    ]
    async with make_session(load.proxy_timeout) as session:
        telling = asyncio.create_task(_tell(asked, name, start))
        running = [asyncio.create_task(_one(ask, session, each)) for each in asked]
        done, late = await asyncio.wait(running, timeout=load.round_bound)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        telling.cancel()
        for task in done:
            # Whatever is no error of the other side's is one of ours.
            task.result()
    for each in asked:
        if not each.ended:
            each.error = f"not done in {load.round_bound:g} s"
    return asked


async def ask_once(ask: Ask, load: Load) -> None:
    """One short answer, so that no round pays for what a server does on its first request."""
    asked = Asked(-1, 1, time.perf_counter())
    async with make_session(load.proxy_timeout) as session:
        await ask(session, asked)


async def _one(ask: Ask, session: aiohttp.ClientSession, asked: Asked) -> None:
    await asyncio.sleep(max(asked.at - time.perf_counter(), 0))
    asked.late = asked.elapsed()
    try:
        await ask(session, asked)
    except BrokenError as error:
        asked.error, asked.wrong = str(error), isinstance(error, WrongError)
    except aiohttp.ServerTimeoutError:
        asked.error = "timed out"
    except aiohttp.ClientConnectorError:
        asked.error = "refused"
    except aiohttp.ClientError:
        asked.error = "cut"


async def _tell(asked: list[Asked], name: str, start: float) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        served = sum(each.whole < inf for each in asked)
        errors = sum(each.error != "" for each in asked)
        seconds = time.perf_counter() - start
        print(f"    {name}: {seconds:3.0f} s, {served} served, {errors} in error", flush=True)


def errors_of(asked: list[Asked]) -> Counter[str]:
    """How many ended with which error."""
    return Counter(each.error for each in asked if each.error)
