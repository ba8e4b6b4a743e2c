"""What a page of the documentation has to copy, with a platform's addresses in place of the usual.

page = Page("docs/clients.md", platform)
page.blocks("python")            # the fenced blocks of a language
page.commands(r"curl ")          # the indented ones that begin so
await page.python(block)         # run as a program of its own
"""

import argparse
import asyncio
import re
import shlex
import sys
from typing import Any

from tests.support.platform import Finished, Platform
from tests.support.processes import ROOT
from tidegate.cli.up.plan import PORTS

_CALLED = ("gateway HTTP", "gateway gRPC", "streaming WebSocket", "streaming SSE")
_PATIENCE = 60.0


class Page:
    """A page by its path from the root. `mentions`: ports of the plan that it has to name."""

    def __init__(self, path: str, platform: Platform, mentions: tuple[str, ...] = _CALLED) -> None:
        text = (ROOT / path).read_text(encoding="utf-8")
        for name in mentions:
            usual, moved = (f"127.0.0.1:{port}" for port in (PORTS[name], platform.port(name)))
            assert usual in text
            text = text.replace(usual, moved)
        self.text = text
        self._platform = platform

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.S | re.M)

    def commands(self, beginning: str) -> list[str]:
        """The indented commands that begin so, each with its continuation lines."""
        return re.findall(rf"^    ({beginning}(?:.*\\\n)*.*)$", self.text, re.M)

    async def python(self, code: str, *arguments: str, stdin: bytes = b"") -> Finished:
        """Runs Python to its end. Raises TimeoutError if there is none."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._platform.environment,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                stdout, stderr = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


def sent_by(command: str) -> dict[str, Any]:
    """What curl would send, as arguments of `ClientSession.request`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-H", dest="headers", action="append")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-N", action="store_true")
    curl = parser.parse_args(shlex.split(command.replace("\\\n", ""))[1:])
    headers = dict(header.split(": ") for header in curl.headers)
    if curl.data is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    method = "GET" if curl.data is None else "POST"
    return {"method": method, "url": curl.url, "headers": headers, "data": curl.data}
