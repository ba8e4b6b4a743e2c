"""One provider's API: connections, keys and error answers, by way of the `openai` package.

Only raw answers come back: its objects cost more to build than all the rest of a call.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit
from typing_extensions import override

from tidegate.contracts.errors import Reason
from tidegate.providers.errors import ProviderError
from tidegate.providers.routes import RoutesError, Target

# Longer than the pauses between calls of a busy process. A server that closes earlier says so, and
# its connection is not used again; a call that crosses that message is lost, and may be repeated.
_KEEPALIVE_SECONDS: Final = 30.0
# The library reads the body of an error whole. What there is to learn from it stands at its start.
_LARGEST_ERROR: Final = 64 * 1024


class Endpoint:
    """Connections to a base URL. `concurrency` is how many calls may run at once.

    `connect` is seconds to a connection. Made on the event loop that will use it; `close` ends its
    connections.
    """

    def __init__(self, base_url: str, *, connect: float, concurrency: int) -> None:
        self._http = DefaultAioHttpClient(
            limits=httpx2.Limits(
                max_connections=concurrency,
                max_keepalive_connections=concurrency,
                keepalive_expiry=_KEEPALIVE_SECONDS,
            ),
            # The rest is kept by one timer per call, which knows tokens from heartbeats.
            timeout=httpx2.Timeout(None, connect=connect, pool=connect),
            # A redirected POST would carry the prompt to wherever the answer points.
            follow_redirects=False,
            event_hooks={"response": [_bound_error]},
        )
        self._client = AsyncOpenAI(
            api_key="unused: every call brings its own",
            base_url=base_url,
            max_retries=0,
            http_client=self._http,
        )
        self._calls = 0
        self._idle = asyncio.Event()

    async def post(
        self, path: str, body: bytes, target: Target, *, accept: str, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """The head of a successful answer; its body is still to be read, and to be closed.

        Raises:
            ProviderError: the target's key cannot be read.
            openai.APIError: no answer, or another status.
        """
        response: httpx2.Response = await self._client.post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": _headers(target, accept, headers)},
            stream=True,
            stream_cls=None,
        )
        return response

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Around each call: `retire` waits for its end."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def retire(self) -> None:
        """Closes all connections once no call is under way; closes them too if it is cancelled."""
        try:
            while self._calls:
                self._idle.clear()
                await self._idle.wait()
        finally:
            await self.close()


class _Start(httpx2.AsyncByteStream):
    """The start of a body; the rest of it is never read."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = _LARGEST_ERROR
        async for chunk in self._body:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    @override
    async def aclose(self) -> None:
        await self._body.aclose()


async def _bound_error(response: httpx2.Response) -> None:
    if not response.is_success and isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Start(response.stream)


def _headers(target: Target, accept: str, given: Mapping[str, str]) -> dict[str, str | Omit]:
    try:
        key = target.read_api_key()
    except RoutesError as error:
        message = "the key of the model's provider cannot be read"
        raise ProviderError(Reason.PROVIDER_CREDENTIALS, message) from error
    return {
        **given,
        "Content-Type": "application/json",
        "Accept": accept,
        # A compressing proxy would hold tokens back.
        "Accept-Encoding": "identity",
        "Authorization": Omit() if key is None else f"Bearer {key}",
        # What the library takes from the environment belongs to one provider only.
        "OpenAI-Organization": Omit(),
        "OpenAI-Project": Omit(),
    }
