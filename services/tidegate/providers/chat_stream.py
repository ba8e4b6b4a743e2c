"""The model client: one streamed chat completion, from the request's bytes to deltas.

The token stream is read from the raw response, because building the `openai` package's objects for
every token costs four times as much as all of this (bench/provider_stream.py).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp
import httpx2
import msgspec
from openai import APIError

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Delta, Usage
from tidegate.providers.chunks import ChunkReader, ErrorChunkError, UnreadableChunkError
from tidegate.providers.endpoint import Endpoint
from tidegate.providers.errors import ProviderError, from_error_chunk, from_openai
from tidegate.providers.routes import Target, Timeouts
from tidegate.providers.sse import EventTooLargeError, SseSplitter

_DONE: Final = b"[DONE]"
# After the finish reason the answer is whole: usage and the end of the body are waited for so long.
_EPILOGUE_SECONDS: Final = 5.0
_AFTER_DONE_SECONDS: Final = 0.25
_SLACK: Final = 0.05

OnDelta = Callable[[Delta], None]


@dataclass(frozen=True, slots=True)
class ChatResult:
    """The end of a whole answer. `usage` is None where the provider told none."""

    finish_reasons: list[str]
    usage: Usage | None


class ChatClient:
    """Calls the targets of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def stream(
        self, target: Target, request: bytes, on_delta: OnDelta, *, headers: Mapping[str, str]
    ) -> ChatResult:
        """Sends a chat completion request (JSON) and hands on each delta as it comes.

        `headers` go with the call. What `on_delta` raises ends the call and passes through.
        Cancelling, like any other end, closes the connection unless the answer was read to its end.

        Raises:
            ProviderError: the answer is not whole; it carries the usage that was told until then.
        """
        call = _Call(target, on_delta)
        body = _upstream_body(request, target.model)
        try:
            with self._endpoint.in_use():
                return await call.run(self._endpoint, body, headers)
        except APIError as error:
            raise from_openai(error) from error
        except ErrorChunkError as error:
            raise call.charged(from_error_chunk(error)) from error
        except (UnreadableChunkError, EventTooLargeError) as error:
            raise call.charged(_cut("cannot be read")) from error
        except ProviderError as error:
            call.charged(error)
            raise


class _Call:
    """One call under way: what it has heard, and when it has waited long enough."""

    def __init__(self, target: Target, on_delta: OnDelta) -> None:
        self._target = target
        self._timeouts: Timeouts = target.timeouts
        self._on_delta = on_delta
        self._reader = ChunkReader()
        self._splitter = SseSplitter()
        self._begun = False
        self._done = False
        self._now = asyncio.get_running_loop().time
        self._ends = self._now() + target.timeouts.total
        self._anew_at = 0.0

    async def run(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> ChatResult:
        due = min(self._now() + self._timeouts.first_token, self._ends)
        try:
            async with asyncio.timeout_at(due) as timer:
                await self._exchange(endpoint, body, headers, timer)
        except TimeoutError:
            if not self._whole:
                raise self._late() from None
        except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            if not self._whole:
                raise _cut("broke off") from error
        if not self._whole:
            raise _cut("ended before the answer did")
        reasons = self._reader.finish_reasons
        return ChatResult([reasons[index] for index in sorted(reasons)], self._reader.usage)

    def charged(self, error: ProviderError) -> ProviderError:
        """The error with what the provider told of tokens."""
        error.usage = self._reader.usage
        return error

    @property
    def _whole(self) -> bool:
        return bool(self._reader.finish_reasons) or (self._done and self._reader.begun)

    async def _exchange(
        self,
        endpoint: Endpoint,
        body: bytes,
        headers: Mapping[str, str],
        timer: asyncio.Timeout,
    ) -> None:
        response = await endpoint.post(
            "/chat/completions", body, self._target, accept="text/event-stream", headers=headers
        )
        async with aclosing(response), aclosing(_chunks(response)) as chunks:
            _check_content_type(response)
            async for chunk in chunks:
                if self._take(self._splitter.feed(chunk)):
                    self._wait_anew(timer)
            self._take_rest()

    def _take_rest(self) -> None:
        """What the stream did not end; of a whole answer it is no matter if it cannot be read."""
        try:
            self._take(self._splitter.close())
        except UnreadableChunkError:
            if not self._whole:
                raise

    def _take(self, events: list[bytes]) -> bool:
        """Hands on what the events hold; whether they brought the answer forward."""
        ended, heard = len(self._reader.finish_reasons), False
        for data in events:
            if data == _DONE:
                self._done = heard = True
                continue
            for delta in self._reader.read(data):
                self._on_delta(delta)
                heard = self._begun = True
        return heard or len(self._reader.finish_reasons) > ended

    def _wait_anew(self, timer: asyncio.Timeout) -> None:
        now = self._now()
        if now < self._anew_at and not self._whole:
            return
        patience = self._timeouts.between_tokens
        if self._done:
            patience = _AFTER_DONE_SECONDS
        elif self._reader.finish_reasons:
            patience = min(patience, _EPILOGUE_SECONDS)
        # Moving a timer costs as much as decoding a token: it is moved only when a share of its
        # time has passed, and set that much later, so that nobody is cut off early.
        slack = patience * _SLACK
        self._anew_at = now + slack
        timer.reschedule(min(now + patience + slack, self._ends))

    def _late(self) -> ProviderError:
        what = "the next token"
        if self._now() >= self._ends:
            what = "the end of the answer"
        elif not self._begun:
            what = "the first token"
        return ProviderError(
            Reason.PROVIDER_TIMEOUT, f"the provider did not send {what} within its time-out"
        )


def _cut(how: str) -> ProviderError:
    return ProviderError(Reason.PROVIDER_STREAM_CUT, f"the provider's stream {how}")


def _chunks(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    return response.aiter_raw()


def _check_content_type(response: httpx2.Response) -> None:
    # Servers that know no streaming answer in one piece, and gateways before them with a page.
    if any(kind in response.headers.get("content-type", "") for kind in ("json", "html")):
        raise ProviderError(
            Reason.PROVIDER_UNAVAILABLE, "the provider did not answer with a stream of events"
        )


def _upstream_body(request: bytes, model: str) -> bytes:
    body = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    changes = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body | changes)
