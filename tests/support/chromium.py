"""A headless Chromium of a test's own, driven over the DevTools protocol.

    async with Chromium(tmp_path) as browser:
        page = await browser.open("http://127.0.0.1:8000/stream.html")
        await page.run("document.title")            # the value, promises awaited

It knows no name but those of loopback and of `hosts`, and so reaches nothing outside.
https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import contextlib
import itertools
import json
import os
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from tests.support.tools import require_tool

_PATIENCE = 60.0
_HINT = "install it with 'apt-get install chromium'"
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class PageError(AssertionError):
    """What a page's script threw."""


class Page:
    """One tab."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self._browser = browser
        self._session = session

    async def run(self, script: str) -> Any:
        """The value of an expression, which may be a promise. Raises PageError if it throws."""
        answer = await self._browser.call(
            "Runtime.evaluate",
            self._session,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            raise PageError(answer["exceptionDetails"]["exception"].get("description", answer))
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """The value of an expression once that is true; the test's time-out is the bound."""
        while not (value := await self.run(script)):
            await asyncio.sleep(0.02)
        return value


class Chromium:
    """A browser with an empty profile in `directory`; ended by its own process id.

    `hosts`: further names that lead to 127.0.0.1.
    """

    def __init__(self, directory: Path, *, hosts: tuple[str, ...] = ()) -> None:
        self._profile = directory / "chromium"
        self._log = directory / "chromium.log"
        self._hosts = hosts
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._stack = contextlib.AsyncExitStack()

    async def open(self, url: str) -> Page:
        """A new tab, once the page has been loaded."""
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        session = attached["sessionId"]
        page = Page(self, session)
        answer = await self.call("Page.navigate", session, url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        await page.until(f"document.readyState === 'complete' && location.href === {url!r}")
        return page

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """A command of the protocol. Raises PageError if it is refused."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": params}
        self._calls[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(
            json.dumps(command if session is None else command | {"sessionId": session})
        )
        async with asyncio.timeout(_PATIENCE):
            answer: dict[str, Any] = await self._calls[number]
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def __aenter__(self) -> Self:
        program = require_tool("chromium", _HINT)
        try:
            await self._start(program)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end()

    async def _start(self, program: str) -> None:
        self._profile.mkdir()
        rules = [f"MAP {host} 127.0.0.1" for host in self._hosts]
        rules += ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"]
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(program, *_OPTIONS, f"--user-data-dir={self._profile}"),
                *(f"--host-resolver-rules={', '.join(rules)}", "about:blank"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self._profile)},
            )
        async with asyncio.timeout(_PATIENCE):
            port, path = await self._debugging_address()
        url = f"ws://127.0.0.1:{port}{path}"
        self._socket = await self._stack.enter_async_context(
            connect(url, max_size=None, compression=None, ping_interval=None)
        )
        reading = asyncio.create_task(self._read(self._socket))
        self._stack.callback(reading.cancel)

    async def _debugging_address(self) -> tuple[str, str]:
        assert self._process is not None
        file = self._profile / "DevToolsActivePort"
        while True:
            with contextlib.suppress(FileNotFoundError, ValueError):
                port, path = file.read_text(encoding="utf-8").split("\n")
                return port, path
            if self._process.returncode is not None:
                raise RuntimeError(self._log.read_text(encoding="utf-8", errors="replace"))
            await asyncio.sleep(0.05)

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            answer = json.loads(message)
            call = self._calls.pop(answer.get("id", 0), None)
            if call is not None and not call.done():
                call.set_result(answer)

    async def _end(self) -> None:
        await self._stack.aclose()
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE / 4):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
