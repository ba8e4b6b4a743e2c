"""The load of bench.litellm, in a process of its own: closed loops, and requests on a schedule.

Every answer is compared with what the simulator says to that question, after the load has ended.
Times are counted from the moment at which a request was due.
"""

import asyncio
import time
from collections import Counter
from typing import Final

from bench._child import Answer, quantile, serve
from bench._litellm_wire import Exchange, Reply, Wires, body_of, read
from tidegate.simulator.answer import answer

_SEED: Final = 1
# After its load a turn may take so long to answer what is under way.
_BOUND: Final = 60.0


async def closed(
    *, port: int, key: str, at_once: int, seconds: float, tokens: int, salt: int
) -> Answer:
    """So many callers, each of which asks again once it has its answer."""
    wires, exchanges = Wires(port, key), list[Exchange]()
    await wires.open(at_once)
    begin = time.perf_counter()

    async def caller() -> None:
        while (now := time.perf_counter()) < begin + seconds:
            question = f"Question {salt}-{len(exchanges)}: what does the tide do?"
            exchange = Exchange(body_of(question, tokens, stream=False), now)
            exchanges.append(exchange)
            await wires.ask(exchange)

    async with asyncio.timeout(seconds + _BOUND):
        await asyncio.gather(*(caller() for _ in range(at_once)))
    wires.close()
    # Callers who began together end together: what a window of time cuts off would be chance.
    elapsed = time.perf_counter() - begin
    summary = _summary(exchanges, tokens)
    return summary | {"rate": summary["right"] / elapsed}


async def paced(
    *, port: int, key: str, rate: float, seconds: float, tokens: int, stream: bool, salt: int
) -> Answer:
    """So many requests a second, however long the answers take."""
    wires = Wires(port, key)
    await wires.open(8)
    begin = time.perf_counter() + 0.1

    async def ask(number: int) -> Exchange:
        question = f"Question {salt}-{number}: what does the tide do?"
        exchange = Exchange(body_of(question, tokens, stream=stream), begin + number / rate)
        await asyncio.sleep(exchange.due - time.perf_counter())
        await wires.ask(exchange)
        return exchange

    async with asyncio.timeout(seconds + _BOUND):
        exchanges = await asyncio.gather(*(ask(number) for number in range(int(rate * seconds))))
    wires.close()
    elapsed = time.perf_counter() - begin
    summary = _summary(exchanges, tokens)
    return summary | {"rate": summary["right"] / elapsed}


def _summary(exchanges: list[Exchange], tokens: int) -> Answer:
    """Milliseconds of the right, whole answers; `problems` counts whatever was none."""
    problems: Counter[str] = Counter()
    first, whole, chunks = [], [], 0
    for exchange in exchanges:
        reply = None if exchange.error else read(exchange)
        if problem := _problem(exchange, reply, tokens):
            problems[problem] += 1
        elif reply is not None:
            first.append((reply.first - exchange.due) * 1e3)
            whole.append((exchange.last - exchange.due) * 1e3)
            chunks += reply.chunks
    late = [(exchange.sent - exchange.due) * 1e3 for exchange in exchanges]
    return {
        "asked": len(exchanges),
        "right": len(whole),
        "chunks": chunks,
        "first": first,
        "whole": whole,
        "late_p99": quantile(late, 0.99),
        "problems": dict(problems),
    }


def _problem(exchange: Exchange, reply: Reply | None, tokens: int) -> str:
    """Why it does not count as an answer, if it does not."""
    if reply is None:
        return exchange.error
    if reply.status != 200:
        return f"{reply.status} {reply.text}"
    if reply.text != answer(_SEED, exchange.body["messages"], tokens).text():
        return "wrong text"
    return "" if reply.complete else "no end"


if __name__ == "__main__":
    serve({"closed": closed, "paced": paced})
