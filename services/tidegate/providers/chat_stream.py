"""The model client: one streamed chat completion, from the request's bytes to deltas.

Connections, TLS, proxies, authentication and error answers are the `openai` package's; the token
stream is read from its raw response, because building its objects for every token costs four times
as much as all of this (bench/provider_stream.py).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import aiohttp
import httpx2
import msgspec
from openai import APIError, AsyncOpenAI, DefaultAioHttpClient, Omit

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Delta, Usage
from tidegate.providers.chunks import ChunkReader, ErrorChunkError, UnreadableChunkError
from tidegate.providers.errors import ProviderError, from_error_chunk, from_openai
from tidegate.providers.routes import Route, RoutesError, Timeouts
from tidegate.providers.sse import EventTooLargeError, SseSplitter

_DONE: Final = b"[DONE]"
# Servers close idle connections after five seconds or more; a call sent into such a close is lost,
# and nobody here sends it again.
_KEEPALIVE_SECONDS: Final = 3.0
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
    """Calls one route. `concurrency` is how many calls may run at once.

    Made on the event loop that will use it; `close` ends its connections.
    """

    def __init__(self, route: Route, *, concurrency: int) -> None:
        self._route = route
        timeouts = route.timeouts
        self._http = DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=concurrency,
                max_keepalive_connections=concurrency,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            # The rest is kept by one timer per call, which knows tokens from heartbeats.
            timeout=httpx2.Timeout(None, connect=timeouts.connect, pool=timeouts.connect),
            # A redirected POST would carry the prompt to wherever the answer points.
            follow_redirects=False,
        )
        self._client = AsyncOpenAI(
            api_key="unused: every call brings its own",
            base_url=route.base_url,
            max_retries=0,
            http_client=self._http,
        )

    async def stream(
        self, request: bytes, on_delta: OnDelta, *, headers: Mapping[str, str]
    ) -> ChatResult:
        """Sends a chat completion request (JSON) and hands on each delta as it comes.

        `headers` go with the call. What `on_delta` raises ends the call and passes through.
        Cancelling, like any other end, closes the connection unless the answer was read to its end.

        Raises:
            ProviderError: the answer is not whole.
        """
        body = _upstream_body(request, self._route.upstream_model)
        call = _Call(self._route.timeouts, on_delta)
        try:
            return await call.run(self._client, body, self._headers(headers))
        except APIError as error:
            raise from_openai(error) from error
        except ErrorChunkError as error:
            raise from_error_chunk(error) from error
        except (UnreadableChunkError, EventTooLargeError) as error:
            raise _cut("cannot be read") from error

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    def _headers(self, given: Mapping[str, str]) -> dict[str, str | Omit]:
        try:
            key = self._route.read_api_key()
        except RoutesError as error:
            message = "the key of the model's provider cannot be read"
            raise ProviderError(Reason.PROVIDER_CREDENTIALS, message) from error
        return {
            **given,
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            # A compressing proxy would hold tokens back.
            "Accept-Encoding": "identity",
            "Authorization": Omit() if key is None else f"Bearer {key}",
            # What the library takes from the environment belongs to one provider only.
            "OpenAI-Organization": Omit(),
            "OpenAI-Project": Omit(),
        }


class _Call:
    """One call under way: what it has heard, and when it has waited long enough."""

    def __init__(self, timeouts: Timeouts, on_delta: OnDelta) -> None:
        self._timeouts = timeouts
        self._on_delta = on_delta
        self._reader = ChunkReader()
        self._splitter = SseSplitter()
        self._begun = False
        self._done = False
        self._now = asyncio.get_running_loop().time
        self._ends = self._now() + timeouts.total
        self._anew_at = 0.0

    async def run(
        self, client: AsyncOpenAI, body: bytes, headers: Mapping[str, str | Omit]
    ) -> ChatResult:
        due = min(self._now() + self._timeouts.first_token, self._ends)
        try:
            async with asyncio.timeout_at(due) as timer:
                await self._exchange(client, body, headers, timer)
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

    @property
    def _whole(self) -> bool:
        return self._done or bool(self._reader.finish_reasons)

    async def _exchange(
        self,
        client: AsyncOpenAI,
        body: bytes,
        headers: Mapping[str, str | Omit],
        timer: asyncio.Timeout,
    ) -> None:
        response: httpx2.Response = await client.post(
            "/chat/completions",
            cast_to=httpx2.Response,
            content=body,
            options={"headers": headers},
            stream=True,
            stream_cls=None,
        )
        async with aclosing(response), aclosing(_chunks(response)) as chunks:
            _check_content_type(response)
            async for chunk in chunks:
                if self._take(self._splitter.feed(chunk)):
                    self._wait_anew(timer)
            self._take(self._splitter.close())

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
