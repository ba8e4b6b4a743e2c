"""Two providers, and three processes that call them: who is called, how often, with what end."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.support.breaker_fleet import Member, fleet
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.provider_world import HEADERS
from tests.support.simulated import SimulatedProvider
from tests.support.worker_world import MESSAGES
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Delta
from tidegate.providers.breakers import Permit
from tidegate.providers.calling import BATCH, INTERACTIVE, Patience
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.errors import ProviderError
from tidegate.providers.routes import Target, Timeouts
from tidegate.simulator.answer import answer

TEXT = answer(1, MESSAGES, 5).text()
BODY = msgspec.json.encode({"model": "public", "messages": MESSAGES, "max_tokens": 5})
HURRIED = Timeouts(connect=5, first_token=1, between_tokens=1, total=30)


class Provider(SimulatedProvider):
    """A simulator under a name of its own, which can be stopped."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    async def stop(self) -> None:
        await self._stack.aclose()

    @property
    def target(self) -> Target:
        return Target(self.name, f"{self.url}/v1", "sim-small", timeouts=HURRIED)

    async def begin_to_count(self) -> None:
        async with self.http.delete("/stats") as response:
            assert response.status == 204

    async def started(self) -> int:
        """Calls that came here."""
        return int((await self.stats())["started"])

    async def most_running(self) -> int:
        """Calls that were here at the same time."""
        return int((await self.stats())["most_running"])


class Answer:
    """What came of one run; the text is that of the last call."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.called: list[str] = []
        self.error: ProviderError | None = None

    @property
    def text(self) -> str:
        return "".join(delta.data for delta in self.deltas)


async def ask(
    member: Member,
    targets: Sequence[Target],
    *,
    patience: Patience = INTERACTIVE,
    attempts_left: int = 10,
) -> Answer:
    outcome = Answer()

    async def call(target: Target, permit: Permit) -> ChatResult:
        outcome.called.append(target.provider)
        outcome.deltas.clear()

        def on_delta(delta: Delta) -> None:
            permit.answering()
            outcome.deltas.append(delta)

        client = member.clients.chat(target)
        return await client.stream(target, BODY, on_delta, headers=HEADERS)

    try:
        await member.caller.run(
            targets, call, deadline=None, patience=patience, attempts_left=attempts_left
        )
    except ProviderError as error:
        outcome.error = error
    return outcome


async def claims(members: list[Member], target: Target) -> int:
    """Probes that the fleet has begun."""
    name = "tidegate_breaker_transitions_total"
    return int(sum(member.sample(name, target, to="half_open") for member in members))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"fail": 503}, id="fails"),
        pytest.param({"fail": 429, "retry_after": 0.1}, id="asks for time"),
        pytest.param({"ttft": 600}, id="silent"),
        pytest.param({"cut_after": 0}, id="hangs up"),
    ],
)
async def test_nothing_hammers_and_then_all_go_on(
    world: LogWorld, nats_server: NatsServer, fault: dict[str, Any]
) -> None:
    """Three processes with calls without end: while it is open, each call there is a probe."""
    async with (
        Provider("one") as one,
        fleet(nats_server.url, 3, open=0.5, longest_open=0.5, lease=30.0) as members,
    ):
        target = one.target
        await one.fault(**fault)
        await asyncio.gather(
            *(ask(m, [target], patience=BATCH, attempts_left=5) for m in members[:1])
        )
        for member in members:
            await member.until_open(target)
        before, claimed = await one.started(), await claims(members, target)
        await one.begin_to_count()
        callers = [
            asyncio.create_task(ask(member, [target], patience=BATCH, attempts_left=1000))
            for member in members
            for _ in range(4)
        ]
        while await claims(members, target) < claimed + 4:
            await asyncio.sleep(0.02)
        # All that were stored are here or on their way, and nothing else is.
        assert await one.started() <= await claims(members, target) - claimed
        assert await one.most_running() <= 1
        assert before <= 5 + claimed
        await one.heal()
        answers = await asyncio.gather(*callers)
        assert [answer.text for answer in answers] == [TEXT] * 12
        for member in members:
            await member.until_closed(target)


async def test_when_one_provider_is_gone_the_other_answers(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with (
        Provider("one") as one,
        Provider("two") as two,
        fleet(nats_server.url, 1, open=0.2, longest_open=0.2) as (member,),
    ):
        targets = [one.target, two.target]
        assert (await ask(member, targets)).called == ["one"]
        await one.stop()
        answers = [await ask(member, targets) for _ in range(8)]
        assert [answer.text for answer in answers] == [TEXT] * 8
        # The first few find out; the others are spared it.
        assert [answer.called for answer in answers][:5] == [["one", "two"]] * 5
        assert await two.started() == 8


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"cut_after": 3}, Reason.PROVIDER_STREAM_CUT),
        ({"end_after": 3}, Reason.PROVIDER_STREAM_CUT),
        ({"error_after": 3}, Reason.PROVIDER_UNAVAILABLE),
        ({"stall_after": 3, "stall_s": 600}, Reason.PROVIDER_TIMEOUT),
    ],
)
async def test_half_an_answer_is_followed_by_a_whole_one(
    world: LogWorld, nats_server: NatsServer, fault: dict[str, Any], reason: Reason
) -> None:
    async with (
        Provider("one") as one,
        Provider("two") as two,
        fleet(nats_server.url, 1) as (member,),
    ):
        await one.fault(**fault)
        given = await ask(member, [one.target, two.target])
        assert (given.text, given.called) == (TEXT, ["one", "two"])
        labels = {"outcome": reason}
        assert member.sample("tidegate_provider_calls_total", one.target, **labels) == 1


async def test_who_asks_for_more_time_than_there_is_is_called_once(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with Provider("one") as one, fleet(nats_server.url, 1) as (member,):
        await one.fault(fail=429, retry_after=30)
        given = await ask(member, [one.target])
        assert given.error is not None
        assert given.error.reason is Reason.PROVIDER_RATE_LIMITED
        assert given.error.retry_after == pytest.approx(30, abs=1)
        assert await one.started() == 1


async def test_what_passes_quickly_is_not_noticed(world: LogWorld, nats_server: NatsServer) -> None:
    async with Provider("one") as one, fleet(nats_server.url, 1) as (member,):
        await one.fault(fail=500, calls=2)
        given = await ask(member, [one.target])
        assert (given.text, given.called) == (TEXT, ["one"] * 3)


async def test_a_probe_heals_while_it_still_talks(world: LogWorld, nats_server: NatsServer) -> None:
    """A long answer would keep everybody else waiting for its end."""
    async with Provider("one") as one, fleet(nats_server.url, 2, open=0.2) as members:
        target = dataclasses.replace(one.target, timeouts=Timeouts(between_tokens=600))
        await members[0].trip(target)
        await members[1].until_open(target)
        await one.fault(stall_after=1, stall_s=600, calls=1)
        slow = asyncio.create_task(ask(members[0], [target], patience=BATCH))
        for member in members:
            await member.until_closed(target)
        assert not slow.done()
        assert (await ask(members[1], [target])).text == TEXT
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_a_reload_parts_with_old_connections_after_their_calls(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with (
        Provider("one") as one,
        Provider("two") as two,
        fleet(nats_server.url, 1) as (member,),
    ):
        await one.fault(ttft=0.3, calls=1)
        running = asyncio.create_task(ask(member, [one.target]))
        while not await one.started():
            await asyncio.sleep(0.005)
        member.clients.keep([two.target])
        assert (await running).text == TEXT
        assert (await ask(member, [two.target])).text == TEXT
        assert (await ask(member, [one.target])).text == TEXT
