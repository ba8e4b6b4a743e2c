"""The platform as the client commands see it: HTTP to the gateway, SSE from streaming."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
import click
import msgspec

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.cli.settings import ClientSettings

_REQUEST = aiohttp.ClientTimeout(total=30)
# A stream beats every 15 s; silence for twice as long is a dead connection.
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=40)
_BACKOFF = Backoff(0.1, 2.0)
# A service that was killed is back within seconds; one that was never there should be told soon.
_REFUSED_SECONDS = 3.0
_LOST_SECONDS = 60.0
_PASSING = frozenset({429, 502, 503, 504})
_NO_ROUTE = "route_not_found"


class PlatformError(Exception):
    """What the platform answered, or that it did not; the text is for a person."""


class _NothingLeft(Exception):
    """The job has ended, and the caller has all of its events."""


class _Passing(Exception):
    """A status that a repeat may cure."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class _Patience:
    """Pauses between tries, the longer the more there were, until it has lasted too long."""

    def __init__(self) -> None:
        self.tries = 0
        self._began = time.monotonic()

    async def wait(self, most: float, at_least: float = 0.0) -> bool:
        """Waits before the next try; False, at once, where that would be after `most` seconds."""
        pause = max(at_least, _BACKOFF.seconds(self.tries))
        if time.monotonic() - self._began + pause > most:
            return False
        self.tries += 1
        await asyncio.sleep(pause)
        return True


class Platform:
    """An async context manager around one HTTP session."""

    def __init__(self, settings: ClientSettings) -> None:
        self._url = settings.url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {settings.api_key.get_secret_value()}"}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One request to the gateway; its JSON, or an empty object.

        It is sent again while the gateway cannot be reached or says that the trouble passes, so it
        must be one that may be repeated.

        Raises:
            PlatformError: no answer, or an error with its reason.
        """
        patience = _Patience()
        while True:
            try:
                status, headers, body = await self._once(method, self._url + path, options)
            except aiohttp.ClientConnectorError as error:
                if not await patience.wait(_REFUSED_SECONDS):
                    raise PlatformError(
                        f"nothing answers at {self._url}: is the platform up? "
                        "(tidegate up; TIDEGATE_URL)"
                    ) from error
            except (aiohttp.ClientError, TimeoutError) as error:
                if not patience.tries:
                    click.echo(f"{self._url} gives no answer, trying again", err=True)
                if not await patience.wait(_LOST_SECONDS):
                    raise PlatformError(
                        f"{self._url} does not answer; is it the gateway's HTTP? (TIDEGATE_URL)"
                    ) from error
            else:
                if status < 400:
                    decoded: dict[str, Any] = msgspec.json.decode(body) if body else {}
                    return decoded
                again = status in _PASSING
                if not (again and await patience.wait(_LOST_SECONDS, _retry_after(headers))):
                    raise PlatformError(_explain(status, body))

    async def _once(
        self, method: str, url: str, options: dict[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        request = self._session.request(method, url, timeout=_REQUEST, **options)
        async with request as response:
            return response.status, response.headers, await response.read()

    async def discover(self) -> dict[str, Any]:
        """The public addresses and models.

        Raises:
            PlatformError: as `call`.
        """
        return await self.call("GET", "/.well-known/tidegate")

    async def follow(self, job_id: str, after_sequence: int) -> AsyncIterator[dict[str, Any]]:
        """A job's events until the terminal one, over as many connections as it takes.

        Ends without one where the caller has them all already.

        Raises:
            PlatformError: the job or the key is refused.
        """
        base = (await self.discover())["sse"].rstrip("/")
        url = f"{base}/v1/jobs/{job_id}/events"
        position, patience = after_sequence, _Patience()
        while True:
            retry_after = 0.0
            try:
                async for event in self._stream(url, position):
                    position, patience = event["sequence"], _Patience()
                    yield event
                    if event["type"] in ("completed", "failed", "cancelled", "expired"):
                        return
            except _NothingLeft:
                return
            except _Passing as error:
                retry_after = error.retry_after
            except (aiohttp.ClientError, TimeoutError):
                if not patience.tries:
                    click.echo("connection lost, resuming", err=True)
            if not await patience.wait(_LOST_SECONDS, retry_after):
                raise PlatformError(
                    f"{base} does not answer; later: "
                    f"tidegate jobs watch {job_id} --after-sequence {position}"
                )

    async def _stream(self, url: str, after_sequence: int) -> AsyncIterator[dict[str, Any]]:
        headers = {"Last-Event-ID": str(after_sequence), "Accept": "text/event-stream"}
        async with self._session.get(url, headers=headers, timeout=_STREAM) as response:
            if response.status in _PASSING:
                raise _Passing(_retry_after(response.headers))
            if response.status >= 400:
                raise PlatformError(_explain(response.status, await response.read()))
            if response.status == 204:
                raise _NothingLeft
            async for line in response.content:
                if line.startswith(b"data:"):
                    event: dict[str, Any] = msgspec.json.decode(line[5:])
                    yield event


def _retry_after(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "0")
    return float(value) if value.isdigit() else 0.0


def _explain(status: int, body: bytes) -> str:
    try:
        error = msgspec.json.decode(body)["error"]
        hint = "; is TIDEGATE_URL the gateway's base?" if error["code"] == _NO_ROUTE else ""
        return f"{error['message']} ({error['code']}){hint}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"status {status}"


def run_client(command: Callable[[Platform], Awaitable[int]]) -> int:
    """Runs a client command; returns its exit status, 1 with a line for what went wrong."""

    async def run() -> int:
        async with Platform(load_settings(ClientSettings)) as platform:
            return await command(platform)

    try:
        return asyncio.run(run())
    except (PlatformError, SettingsError) as error:
        click.echo(f"error: {error}", err=True)
        return 1
