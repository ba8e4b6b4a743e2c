"""Bodies are taken in without letting one caller have the process."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tidegate.contracts.errors import InvalidRequest, Reason, RequestTooLarge
from tidegate.gateway.request_body import read_body

ENOUGH = 60.0


async def chunks(count: int, chunk: bytes) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield chunk


async def test_a_body_in_very_many_parts_costs_no_more_than_in_one() -> None:
    """Copied anew for each part, this one would be terabytes: every other caller would wait."""
    count = 400_000
    body = await read_body(chunks(count, b"0123456789abcdef"), bound=2**24, seconds=ENOUGH)
    assert body == b"0123456789abcdef" * count


async def test_a_body_over_the_bound_is_read_no_further() -> None:
    parts = chunks(10, b"12345")
    with pytest.raises(RequestTooLarge, match="12 bytes"):
        await read_body(parts, bound=12, seconds=ENOUGH)
    assert [part async for part in parts] == [b"12345"] * 7


async def test_a_body_at_the_bound_is_taken() -> None:
    assert await read_body(chunks(2, b"123456"), bound=12, seconds=ENOUGH) == b"123456" * 2


async def test_a_body_that_never_ends_is_refused() -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.001)
            yield b"."

    with pytest.raises(InvalidRequest, match=r"within 0\.05 seconds") as refused:
        await read_body(dripping(), bound=2**20, seconds=0.05)
    assert refused.value.reason is Reason.INVALID_REQUEST
