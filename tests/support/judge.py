"""A chat model that says what a test tells it to, and remembers what it was asked.

async with Judge() as judge:
    judge.says = "no"
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.provider_world import text_chunk

MODEL = "judge"


class Judge:
    """`says` is its answer, `status` another one than 200; `answering` cleared, it waits."""

    def __init__(self) -> None:
        self.says = "yes"
        self.status = 200
        self.answering = asyncio.Event()
        self.asked: list[dict[str, Any]] = []
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._server = TestServer(app)

    def routes(self, directory: Path) -> Path:
        """A routes file in which it is the chat model `judge`, at a price."""
        path = directory / "judge-routes.yaml"
        price = "price: {input: 1, output: 2}"
        path.write_text(
            f"providers:\n  bench: {{base_url: '{self._server.make_url('/v1')}'}}\n"
            f"models:\n  {MODEL}: {{queue: q, targets: [{{provider: bench, model: m, {price}}}]}}\n"
        )
        return path

    async def __aenter__(self) -> Self:
        self.answering.set()
        await self._server.start_server()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.answering.set()
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(json.loads(await request.read()))
        await self.answering.wait()
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        usage = {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 1}}
        body = text_chunk(self.says, "stop") + b"data: " + json.dumps(usage).encode() + b"\n\n"
        return web.Response(body=body + b"data: [DONE]\n\n", content_type="text/event-stream")
