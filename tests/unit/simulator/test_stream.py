"""Load tests compare arrival times with the plan: a simulator that drifts accuses the platform."""

import asyncio
import itertools
from collections.abc import Callable
from random import Random

import pytest

from tidegate.simulator.answer import text_tokens
from tidegate.simulator.calls import CallLog, CallRecord
from tidegate.simulator.faults import Break, CallPlan
from tidegate.simulator.stream import TokenStream
from tidegate.simulator.ticker import Ticker


class Pipe:
    """A sink whose reader can be made to lag."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []
        self.lag = 0

    def unsent(self) -> int:
        return self.lag

    def send(self, token: bytes) -> None:
        self.tokens.append(token)


class Call:
    """A call of ten tokens that began at 100 s on an imaginary clock."""

    def __init__(self, plan: CallPlan, length: int = 10) -> None:
        self.pipe = Pipe()
        self.log = CallLog(10, clock=lambda: 0.0)
        self.record = CallRecord(id="1", endpoint="chat", started=0.0, tokens_planned=length)
        self.log.begin(self.record)
        self.stream = TokenStream(
            plan,
            tokens=itertools.islice(text_tokens(1), length),
            sink=self.pipe,
            record=self.record,
            log=self.log,
            dice=Random(1),
            start=100.0,
        )

    def play(self, late: Callable[[int], float] = lambda _: 0.0) -> list[float]:
        """Serve each deadline, the i-th `late(i)` seconds after it; the deadlines."""
        due: float | None = self.stream.first_due
        deadlines: list[float] = []
        while due is not None:
            deadlines.append(due)
            due = self.stream.on_due(due + late(len(deadlines) - 1))
        return deadlines


def plan(**changes: object) -> CallPlan:
    values = {"ttft": 0.5, "interval": 0.1, "jitter": 0.0, "stall_s": 30.0} | changes
    return CallPlan(**values)  # type: ignore[arg-type]


async def test_tokens_are_due_at_their_own_times_however_late_the_last_one_was() -> None:
    call = Call(plan())
    assert call.play(late=lambda i: 0.09 if i % 2 else 0.0) == pytest.approx(
        [100.5 + 0.1 * i for i in range(10)]
    )
    assert await call.stream.done is None
    assert call.log.tokens_sent == len(call.pipe.tokens) == 10


async def test_after_a_long_delay_what_is_overdue_goes_out_at_once() -> None:
    call = Call(plan())
    next_due = call.stream.on_due(100.95)
    assert call.record.tokens_sent == 5
    assert next_due == pytest.approx(101.0)


async def test_jitter_delays_tokens_by_less_than_their_distance_and_keeps_the_order() -> None:
    deadlines = Call(plan(jitter=1.0), length=200).play()
    late = [due - (100.5 + 0.1 * i) for i, due in enumerate(deadlines)]
    assert all(0 <= shift < 0.1 for shift in late)
    assert max(late) > 0.08
    assert deadlines == sorted(deadlines)


@pytest.mark.parametrize("kind", list(Break))
@pytest.mark.parametrize("after", [0, 1, 9, 10])
async def test_a_break_comes_after_exactly_so_many_tokens(kind: Break, after: int) -> None:
    call = Call(plan(break_after=after, break_kind=kind))
    call.play()
    assert await call.stream.done is kind
    assert len(call.pipe.tokens) == after


async def test_a_break_beyond_the_end_never_happens() -> None:
    call = Call(plan(break_after=11))
    call.play()
    assert await call.stream.done is None


async def test_a_break_waits_until_the_token_before_it_has_left() -> None:
    """A reset discards what is buffered, and a test that counts tokens would be off by one."""
    call = Call(plan(break_after=0))
    call.pipe.lag = 1
    assert call.stream.on_due(100.5) is not None
    assert not call.stream.done.done()
    call.pipe.lag = 0
    assert call.stream.on_due(100.6) is None
    assert await call.stream.done is Break.CUT


async def test_a_stall_moves_all_that_follows() -> None:
    call = Call(plan(stall_after=3, stall_s=30.0))
    deadlines = call.play()
    assert call.record.stalled
    assert call.log.stalls == 1
    gaps = [late - early for early, late in itertools.pairwise(deadlines)]
    assert max(gaps) == pytest.approx(30.0)
    assert deadlines[-1] == pytest.approx(100.5 + 30.0 + 0.9)
    assert len(call.pipe.tokens) == 10


async def test_a_reader_who_lags_is_waited_for_and_not_buffered_without_bound() -> None:
    call = Call(plan())
    call.pipe.lag = 10**9
    assert call.stream.on_due(100.5) is not None
    assert call.pipe.tokens == []


async def test_a_closed_stream_sends_nothing_more() -> None:
    call = Call(plan())
    call.stream.on_due(100.5)
    call.stream.close()
    assert call.stream.on_due(100.6) is None
    assert len(call.pipe.tokens) == 1


class Alarm:
    """Rings at its times, in order, and says when it is done."""

    def __init__(self, times: list[float], rung: list[float]) -> None:
        self.times = times
        self.rung = rung
        self.done = asyncio.Event()
        self.error: Exception | None = None

    def on_due(self, now: float) -> float | None:
        self.rung.append(self.times.pop(0))
        if self.times:
            return self.times[0]
        self.done.set()
        return None

    def on_fault(self, error: Exception) -> None:
        self.error = error
        self.done.set()


class Broken(Alarm):
    def on_due(self, now: float) -> float | None:
        raise ValueError("broken")


async def test_many_alarms_ring_in_the_order_of_their_times() -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop, loop.time)
    rung: list[float] = []
    begin = loop.time()
    alarms = [
        Alarm([begin + 0.0005 * (i + 40 * step) for step in range(3)], rung) for i in range(40)
    ]
    for alarm in reversed(alarms):
        ticker.add(alarm.times[0], alarm)
    await asyncio.gather(*(alarm.done.wait() for alarm in alarms))
    assert len(rung) == 120
    assert rung == sorted(rung)


async def test_one_broken_stream_does_not_silence_the_others() -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop, loop.time)
    broken, sound = Broken([], []), Alarm([loop.time() + 0.002], [])
    ticker.add(loop.time(), broken)
    ticker.add(sound.times[0], sound)
    await asyncio.gather(broken.done.wait(), sound.done.wait())
    assert isinstance(broken.error, ValueError)
    ticker.close()
