"""The embeddings client: raw JSON in, raw JSON out, looked at in between.

Vectors are not decoded: a request may ask for millions of numbers, which would be built only to be
written out again.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import httpx2
import msgspec
from openai import APIError

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import UNDECODABLE, Usage
from tidegate.providers.chunks import read_usage
from tidegate.providers.endpoint import Endpoint
from tidegate.providers.errors import ProviderError, from_openai
from tidegate.providers.routes import Target

# 2,048 inputs of 4,096 numbers, written out at length; nobody may fill the memory.
LARGEST_ANSWER: Final = 192 * 1024 * 1024

_IN_NUMBERS: Final = b"0123456789+-.eE, \t\r\n"


@dataclass(frozen=True, slots=True)
class EmbeddingsResult:
    """`data` is a JSON array, one object with `index` and `embedding` for each input.

    `usage` has input tokens only; None where the provider told none.
    """

    data: bytes
    usage: Usage | None


class _Embedding(msgspec.Struct):
    index: int
    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    data: msgspec.Raw
    usage: Any = None


_answers = msgspec.json.Decoder(_Answer)
_embeddings = msgspec.json.Decoder(list[_Embedding])


class EmbeddingsClient:
    """Calls the targets of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def create(
        self, target: Target, body: bytes, *, headers: Mapping[str, str]
    ) -> EmbeddingsResult:
        """Sends an embeddings request (a JSON object), its model replaced by the target's.

        The first byte has the target's time for the first token, the whole call its total.

        Raises:
            ProviderError: no answer, or one that is not an embedding for each input.
        """
        request = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        upstream = msgspec.json.encode(request | {"model": target.model})
        try:
            with self._endpoint.in_use():
                answer = await self._answer(target, upstream, headers)
        except APIError as error:
            raise from_openai(error) from error
        return _checked(answer, _inputs(request))

    async def _answer(self, target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
        now = asyncio.get_running_loop().time
        ends = now() + target.timeouts.total
        due = min(now() + target.timeouts.first_token, ends)
        try:
            async with asyncio.timeout_at(due) as timer:
                response = await self._endpoint.post(
                    "/embeddings", body, target, accept="application/json", headers=headers
                )
                timer.reschedule(ends)
                async with aclosing(response):
                    return await _body(response)
        except TimeoutError:
            message = "the provider did not send the embeddings within its time-out"
            raise ProviderError(Reason.PROVIDER_TIMEOUT, message) from None
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            message = "the provider's answer broke off"
            raise ProviderError(Reason.PROVIDER_STREAM_CUT, message) from error


async def _body(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise _unusable()
    return bytes(body)


def _checked(answer: bytes, inputs: int | None) -> EmbeddingsResult:
    try:
        told = _answers.decode(answer)
        embeddings = _embeddings.decode(told.data)
    except UNDECODABLE as error:
        raise _unusable() from error
    indices = sorted(each.index for each in embeddings)
    expected = len(embeddings) if inputs is None else inputs
    if not embeddings or indices != list(range(expected)):
        raise _unusable()
    if not all(_is_vector(bytes(each.embedding)) for each in embeddings):
        raise _unusable()
    return EmbeddingsResult(bytes(told.data), read_usage(told.usage))


def _is_vector(text: bytes) -> bool:
    """Whether a JSON value is a list of numbers, or text (base64), and holds something."""
    if text.startswith(b'"'):
        return len(text) > 2
    # It is JSON: of what numbers are written with, nothing but numbers can be made.
    return text.translate(None, _IN_NUMBERS) == b"[]" and any(
        byte in b"0123456789" for byte in text
    )


def _inputs(request: Mapping[str, msgspec.Raw]) -> int | None:
    """How many inputs a request has; None where that cannot be said."""
    try:
        given = msgspec.json.decode(request.get("input", msgspec.Raw(b"null")))
    except UNDECODABLE:
        return None
    if isinstance(given, str):
        return 1
    if not isinstance(given, list):
        return None
    tokens = bool(given) and all(isinstance(each, int) for each in given)
    return 1 if tokens else len(given)


def _unusable() -> ProviderError:
    return ProviderError(
        Reason.PROVIDER_UNAVAILABLE, "the provider did not answer with an embedding for each input"
    )
