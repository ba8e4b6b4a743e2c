"""Taking in the body of an HTTP request: bounded in bytes and in time."""

import asyncio
from collections.abc import AsyncIterable

from tidegate.contracts.errors import InvalidRequest
from tidegate.gateway.creation import too_large


async def read_body(chunks: AsyncIterable[bytes], *, bound: int, seconds: float) -> bytes:
    """All the chunks; what is over `bound` bytes is refused as soon as that is known.

    Raises:
        RequestTooLarge: names the bound.
        InvalidRequest: the end did not come within `seconds`.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                body += chunk
                if len(body) > bound:
                    raise too_large(bound)
    except TimeoutError as error:
        raise InvalidRequest(f"the body did not arrive within {seconds:g} seconds") from error
    return bytes(body)
