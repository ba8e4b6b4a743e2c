"""Whose figures are in the answer: a worker that is left out makes a platform look idle."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.figures import snapshot
from tidegate.chassis.component import Deadline
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.subjects import figures_answer_subject
from tidegate.figures.metrics import Figures
from tidegate.figures.snapshot import encode_snapshot
from tidegate.figures.telling import FiguresTold
from tidegate.gateway.fleet import FleetFigures


@dataclass
class Message:
    subject: str
    data: bytes = b""


class Nats:
    """A connection that hands each message to who listens, in this process, before it returns."""

    def __init__(self) -> None:
        self.connected = True
        self.asked: list[str] = []
        self.listeners: list[tuple[str, Any]] = []

    @property
    def client(self) -> "Nats":
        return self

    async def subscribe(self, subject: str, *, cb: Any) -> None:
        self.listeners.append((subject.rstrip("*."), cb))

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        if not self.connected:
            raise Unavailable("away")
        if ".ask." in subject:
            self.asked.append(subject)
        for start, listener in self.listeners:
            if subject.startswith(start):
                await listener(Message(subject, payload))


@pytest.fixture
def nats() -> Any:
    return Nats()


@pytest.fixture
async def fleet(nats: Any) -> AsyncIterator[FleetFigures]:
    fleet = FleetFigures(nats, seconds=5.0, quiet_seconds=0.05)
    await fleet.start()
    yield fleet
    await fleet.stop(Deadline(1))


async def tell(nats: Any, host: str) -> None:
    told = FiguresTold(Figures(CollectorRegistry()), nats, host=host, clock=lambda: 7.0)
    await told.start()


async def test_every_process_that_answers_is_in_it(nats: Any, fleet: FleetFigures) -> None:
    for host in ("two", "one", "two"):
        await tell(nats, host)
    told = await fleet.ask()
    assert [each.host for each in told] == ["one", "two", "two"]
    assert len({each.process for each in told}) == 3


async def test_nobody_is_no_error(nats: Any) -> None:
    fleet = FleetFigures(nats, seconds=0.05)
    await fleet.start()
    assert await fleet.ask() == []


async def test_one_that_is_slow_is_waited_for(nats: Any) -> None:
    """A worker that is busy answers late, and its figures are those that matter."""
    fleet = FleetFigures(nats, seconds=5.0, quiet_seconds=0.01)
    await fleet.start()
    asked = asyncio.Event()

    async def hear(_: Message) -> None:
        asked.set()

    await nats.subscribe("figures.ask.*.*", cb=hear)
    asking = asyncio.create_task(fleet.ask())
    await asked.wait()
    await asyncio.sleep(0.05)
    payload = encode_snapshot(snapshot("late"))
    await nats.publish(figures_answer_subject(nats.asked[0]), payload)
    assert [each.process for each in await asking] == ["late"]


async def test_who_asks_at_once_shares_the_answers(nats: Any, fleet: FleetFigures) -> None:
    """Else ten people at their screens would ask a busy fleet ten times."""
    await tell(nats, "one")
    first, second = await asyncio.gather(fleet.ask(), fleet.ask())
    assert first == second
    assert len(nats.asked) == 1
    await fleet.ask()
    assert len(nats.asked) == 2


async def test_another_gateways_answers_are_not_taken_for_ours(
    nats: Any, fleet: FleetFigures
) -> None:
    other = FleetFigures(nats, quiet_seconds=0.05)
    await other.start()
    await tell(nats, "one")
    first, second = await asyncio.gather(fleet.ask(), other.ask())
    assert len(first) == len(second) == 1


async def test_an_answer_that_comes_twice_counts_once_and_one_that_comes_late_never(
    nats: Any, fleet: FleetFigures
) -> None:
    async def answer(question: Message) -> None:
        for answers in (1, 2):
            payload = encode_snapshot(snapshot("a", answers=answers))
            await nats.publish(figures_answer_subject(question.subject), payload)

    await nats.subscribe("figures.ask.*.*", cb=answer)
    (told,) = await fleet.ask()
    assert told.response.spread().count == 2
    await answer(Message(nats.asked[0]))
    assert len(await fleet.ask()) == 1


async def test_nonsense_takes_nobody_elses_figures_away(
    nats: Any, fleet: FleetFigures, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(question: Message) -> None:
        await nats.publish(figures_answer_subject(question.subject), b"\xff\x00")

    await nats.subscribe("figures.ask.*.*", cb=answer)
    await tell(nats, "one")
    assert [each.host for each in await fleet.ask()] == ["one"]
    assert "left out" in capsys.readouterr().out


async def test_without_a_connection_it_says_so_and_works_again_after(
    nats: Any, fleet: FleetFigures
) -> None:
    await tell(nats, "one")
    nats.connected = False
    with pytest.raises(Unavailable):
        await fleet.ask()
    nats.connected = True
    assert len(await fleet.ask()) == 1


async def test_a_process_whose_answer_nobody_hears_goes_on(nats: Any) -> None:
    await tell(nats, "one")
    _, answer = nats.listeners[0]
    nats.connected = False
    await answer(Message("figures.ask.a.1"))
