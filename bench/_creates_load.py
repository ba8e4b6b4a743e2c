"""The load of bench/creates.py, a process of its own: creates at saturation, or on a schedule."""

import asyncio
import time
from functools import partial

from bench._child import Answer, quantile, serve
from bench._ticker import TICK, Ticker
from bench._wires import Door, make_door

_SETTLE = 20.0  # seconds that late answers are waited for
_PACED_CONNECTIONS = 256


async def saturate(
    *, surface: str, port: int, at_once: int, seconds: float, prompt_bytes: int
) -> Answer:
    """Closed loop: each of `at_once` callers creates its next job when it has the last one."""
    door = make_door(surface, port, prompt_bytes)
    await door.open(at_once)
    waits: list[float] = []
    refused, running = 0, at_once
    ended = asyncio.get_running_loop().create_future()
    clock = time.perf_counter
    cpu, begun = time.process_time(), clock()
    until = begun + seconds

    def done(sent: float, job_id: str) -> None:
        nonlocal refused, running
        now = clock()
        if job_id:
            waits.append(now - sent)
        else:
            refused += 1
        if now < until and refused < 1000:
            door.send(partial(done, now))
            return
        running -= 1
        if not running:
            ended.set_result(None)

    for _ in range(at_once):
        door.send(partial(done, clock()))
    await asyncio.wait_for(ended, seconds + _SETTLE)
    return _answer(door, len(waits), waits, clock() - begun, time.process_time() - cpu)


async def pace(
    *, surface: str, port: int, rate: float, seconds: float, prompt_bytes: int, keep: bool = False
) -> Answer:
    """Open loop: `rate` creates a second whatever becomes of them, counted from when they are due.

    They are due on ticks of a millisecond. With `keep` the answer has every job's id and the time
    of its acknowledgement, in milliseconds of the epoch.
    """
    door = make_door(surface, port, prompt_bytes)
    await door.open(_PACED_CONNECTIONS)
    loop, clock = asyncio.get_running_loop(), time.perf_counter
    total = int(rate * seconds)
    waits: list[float] = []
    late: list[float] = []
    acks: list[tuple[str, float]] = []
    sent = answered = 0
    ended = loop.create_future()

    def done(due: float, job_id: str) -> None:
        nonlocal answered
        answered += 1
        if job_id:
            waits.append(clock() - due)
            if keep:
                acks.append((job_id, time.time() * 1000))
        if answered == total:
            ended.set_result(None)

    def tick() -> None:
        nonlocal sent
        now = clock()
        upto = min(int(int((now - begun) / TICK) * TICK * rate), total)
        while sent < upto:
            sent += 1
            due = begun + (int(sent / rate / TICK - 1e-9) + 1) * TICK
            late.append(now - due)
            door.send(partial(done, due))

    cpu, begun = time.process_time(), clock()
    ticker = Ticker(tick)
    try:
        await asyncio.wait_for(ended, seconds + _SETTLE)
    except TimeoutError:
        door.problems["no answer"] += total - answered
    finally:
        ticker.stop()
    cpu = time.process_time() - cpu
    answer = _answer(door, total, waits, clock() - begun, cpu)
    return answer | {"late_p99_ms": quantile(late, 0.99) * 1e3, "acks": acks}


def _answer(door: Door, number: int, waits: list[float], seconds: float, cpu: float) -> Answer:
    door.close()
    return {
        "created": len(waits),
        "seconds": seconds,
        "rate": len(waits) / seconds,
        "problems": dict(door.problems.most_common(5)),
        "cpu_us": cpu / max(number, 1) * 1e6,
        "p50_ms": quantile(waits, 0.50) * 1e3,
        "p95_ms": quantile(waits, 0.95) * 1e3,
        "p99_ms": quantile(waits, 0.99) * 1e3,
    }


if __name__ == "__main__":
    serve({"saturate": saturate, "pace": pace})
