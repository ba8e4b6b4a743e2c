"""What becomes of an answer when something breaks, as the stock `openai` client sees it.

Each fate is one observation: a question, something that breaks in the middle of its answer, and
what the client and the simulator saw of it. Nothing here knows what is to be expected.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from openai import AsyncOpenAI

from bench._litellm_sides import Kill, Provider, Side, World
from tidegate.simulator.answer import answer

_SEED: Final = 1
_PACE: Final = {"ttft": 0.1, "tokens_per_s": 20.0}
_TOKENS: Final = 60
# So long that a call which nobody reads can be told from one that simply ended.
_LONG: Final = 300
_BREAK_AFTER: Final = 10
_BOUND: Final = 90.0
_IDLE_WITHIN: Final = 30.0
_LONGEST_ERROR: Final = 72


@dataclass(slots=True)
class Seen:
    """What the client got of one request; `tokens` is how many the whole answer has."""

    tokens: int
    text: str = ""
    finish: str | None = None
    error: str = ""
    left: bool = False
    job: str = ""
    seconds: float = 0.0
    ended: float = 0.0

    def deceived(self, expected: str) -> bool:
        """Whether it took for an answer what was none."""
        cut_off = not self.left and not self.error and self.text != expected
        return cut_off or not expected.startswith(self.text)

    def words(self, expected: str) -> str:
        """For a person."""
        got = f"{len(self.text.split())} of {self.tokens} tokens"
        if not expected.startswith(self.text):
            return f"WRONG TEXT, {got}, {self.error or 'no error'}"
        if self.left:
            return f"left after {got}"
        if self.error:
            return f"{got}, then {self.error}" if self.text else self.error
        if self.text == expected:
            return f"whole, {self.seconds:.1f} s"
        return f"{got} and NO error, finish reason {self.finish or 'none'}"


@dataclass(slots=True)
class Fate:
    """One observation. `calls` are the simulator's records of them, `job` what the job says.

    `waited`: seconds from the first end until the side took requests and was asked again.
    """

    what: str
    side: str
    asked: "Asked"
    first: Seen
    again: Seen | None = None
    waited: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)
    job: str = ""

    @property
    def failed(self) -> bool:
        """The client was deceived, or had no whole answer even when it asked again."""
        expected = self.asked.expected
        again = self.again is not None and self.again.text != expected
        return again or self.first.deceived(expected)

    def seen(self) -> str:
        return self.first.words(self.asked.expected)

    def seen_again(self) -> str:
        if self.again is None:
            return ""
        return f"asked after {self.waited:.1f} s: {self.again.words(self.asked.expected)}"

    def paid(self) -> str:
        """Calls and tokens of the provider, and how each call ended."""
        tokens = sum(call["tokens_sent"] for call in self.calls)
        ends = ", ".join(self._end(call) for call in self.calls)
        return f"{len(self.calls)} ({ends}), {tokens} tokens"

    def _end(self, call: dict[str, Any]) -> str:
        if self.first.left and call["outcome"] == "aborted":
            return f"aborted {max(call['ended'] - self.first.ended, 0.0):.1f} s after"
        return str(call["kind"] or call["outcome"])


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with a key of its own, and its whole answer."""

    question: str
    tokens: int
    stream: bool
    key: str

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}]

    @property
    def expected(self) -> str:
        return answer(_SEED, self.messages, self.tokens).text()


async def observe(world: World) -> list[Fate]:
    """All fates on all sides, one by one."""
    fates: list[Fate] = []
    seer = _Seer(world.provider)
    for look in (seer.leaves, seer.comes_back, seer.is_cut, seer.ends_early):
        fates += [await _told(look(side)) for side in world.sides]
    for stream in (True, False):
        for side in world.sides:
            for victim, kill in side.victims.items():
                fates.append(await _told(seer.killed(side, victim, kill, stream=stream)))
    return fates


async def _told(looking: Awaitable[Fate]) -> Fate:
    fate = await looking
    print(f"{fate.what}: {fate.side}: {fate.seen()}; {fate.paid()}", flush=True)
    return fate


class _Seer:
    """Breaks one thing and looks."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def leaves(self, side: Side) -> Fate:
        """The client goes away in mid-stream for good."""
        asked = await self._begin(_LONG)
        first = await ask(side, asked, leave_after=_BREAK_AFTER)
        return await self._end(Fate("client leaves for good", side.name, asked, first), side)

    async def comes_back(self, side: Side) -> Fate:
        """The client goes away in mid-stream and asks the same a second later."""
        asked = await self._begin(_TOKENS)
        first = await ask(side, asked, leave_after=_BREAK_AFTER)
        await asyncio.sleep(1.0)
        fate = Fate("client leaves, asks again", side.name, asked, first)
        return await self._end(await self._again(fate, side))

    async def is_cut(self, side: Side) -> Fate:
        """The provider's connection breaks in mid-stream, once."""
        return await self._broken(side, "provider resets", cut_after=_BREAK_AFTER)

    async def ends_early(self, side: Side) -> Fate:
        """The provider's stream just ends, without a finish reason, once."""
        return await self._broken(side, "provider ends early", end_after=_BREAK_AFTER)

    async def killed(self, side: Side, victim: str, kill: Kill, *, stream: bool) -> Fate:
        """A process is killed while the model talks."""
        asked = await self._begin(_TOKENS, stream=stream)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._when_it_talks(kill))
            first = await ask(side, asked)
        what = f"kill -9, {'streamed' if stream else 'not streamed'}"
        name = f"{side.name}, {victim}"
        return await self._end(await self._again(Fate(what, name, asked, first), side))

    async def _broken(self, side: Side, what: str, **fault: int) -> Fate:
        asked = await self._begin(_TOKENS)
        await self._provider.fault_next(_PACE, **fault)
        first = await ask(side, asked)
        return await self._end(await self._again(Fate(what, side.name, asked, first), side))

    async def _again(self, fate: Fate, side: Side) -> Fate:
        """Asks again where the first answer was not whole, once the side takes requests."""
        await side.until_up()
        if fate.first.text != fate.asked.expected:
            fate.waited = time.time() - fate.first.ended
            fate.again = await ask(side, fate.asked)
        return fate

    async def _begin(self, tokens: int, *, stream: bool = True) -> Asked:
        await self._provider.behave(**_PACE)
        await self._provider.reset()
        key = secrets.token_hex(8)
        return Asked(f"Question {key}: what does the tide do?", tokens, stream, key)

    async def _end(self, fate: Fate, side: Side | None = None) -> Fate:
        fate.calls = (await self._provider.stats(idle_within=_IDLE_WITHIN))["calls"]
        if side is not None:
            fate.job = await _fate_of_job(side, fate.first.job)
        return fate

    async def _when_it_talks(self, act: Callable[[], Awaitable[None]]) -> None:
        """Acts once a call has said a few tokens."""
        async with asyncio.timeout(_BOUND):
            while not _talks((await self._provider.stats())["calls"]):
                await asyncio.sleep(0.02)
        await act()


def _talks(calls: Sequence[dict[str, Any]]) -> bool:
    return any(call["tokens_sent"] >= _BREAK_AFTER for call in calls)


async def ask(side: Side, asked: Asked, leave_after: int | None = None) -> Seen:
    """Asks with the stock client, whose repeats are its own; leaves after so many tokens."""
    seen, begun = Seen(asked.tokens), time.perf_counter()
    async with AsyncOpenAI(base_url=side.base, api_key=side.key) as client:
        try:
            async with asyncio.timeout(_BOUND):
                if asked.stream:
                    await _stream(client, asked, seen, leave_after)
                else:
                    await _whole(client, asked, seen)
        except Exception as error:  # Whatever it is, it is what was to be seen.
            said = f"{type(error).__name__}: {error}"
            seen.error = said if len(said) <= _LONGEST_ERROR else f"{said[:_LONGEST_ERROR]}..."
    seen.seconds, seen.ended = time.perf_counter() - begun, time.time()
    return seen


async def _stream(client: AsyncOpenAI, asked: Asked, seen: Seen, leave_after: int | None) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="sim-small",
        messages=[{"role": "user", "content": asked.question}],
        max_tokens=asked.tokens,
        stream=True,
        extra_headers={"Idempotency-Key": asked.key},
    )
    seen.job = raw.headers.get("x-tidegate-job", "")
    async with raw.parse() as chunks:
        async for chunk in chunks:
            for choice in chunk.choices:
                seen.text += choice.delta.content or ""
                seen.finish = choice.finish_reason or seen.finish
            if leave_after is not None and len(seen.text.split()) >= leave_after:
                seen.left = True
                return


async def _whole(client: AsyncOpenAI, asked: Asked, seen: Seen) -> None:
    completion = await client.chat.completions.create(
        model="sim-small",
        messages=[{"role": "user", "content": asked.question}],
        max_tokens=asked.tokens,
        extra_headers={"Idempotency-Key": asked.key},
    )
    seen.text = completion.choices[0].message.content or ""
    seen.finish = completion.choices[0].finish_reason


async def _fate_of_job(side: Side, job: str) -> str:
    """How the job stands that a response named, if it named one."""
    if not job:
        return "no id to ask by"
    headers = {"Authorization": f"Bearer {side.key}"}
    with suppress(TimeoutError):
        async with asyncio.timeout(_IDLE_WITHIN), aiohttp.ClientSession(headers=headers) as session:
            while True:
                async with session.get(f"{side.base}/jobs/{job}") as response:
                    state = str((await response.json())["state"])
                if state not in {"queued", "running"}:
                    return f"job {state}"
                await asyncio.sleep(0.1)
    return "job not ended"
