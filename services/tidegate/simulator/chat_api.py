"""`POST /v1/chat/completions`: the seeded answer, paced, streamed or in one piece."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from aiohttp import HttpVersion11, web

from tidegate.simulator.admission import Admission
from tidegate.simulator.calls import CallLog, CallRecord
from tidegate.simulator.errors import ProviderError, bad_request
from tidegate.simulator.faults import Break, CallPlan
from tidegate.simulator.frames import (
    ChunkFrames,
    Usage,
    completion_body,
    error_event,
)
from tidegate.simulator.models import Catalogue
from tidegate.simulator.requests import ChatRequest, prompt_tokens, read_chat
from tidegate.simulator.shapes import Reply, reply_to
from tidegate.simulator.stream import Sink, TokenStream, Unsent, Wire, reset
from tidegate.simulator.ticker import Ticker

_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class ChatApi:
    """The handler of chat completions. `clock` is the ticker's."""

    def __init__(
        self,
        *,
        seed: int,
        catalogue: Catalogue,
        admission: Admission,
        log: CallLog,
        ticker: Ticker,
        dice: Random,
        clock: Callable[[], float],
    ) -> None:
        self._seed = seed
        self._catalogue = catalogue
        self._admission = admission
        self._log = log
        self._ticker = ticker
        self._dice = dice
        self._clock = clock

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        start = self._clock()
        with self._admission.call(request, "chat") as record:
            chat, messages = read_chat(await request.read())
            self._catalogue.require_chat(chat.model)
            reply = reply_to(self._seed, chat, messages)
            record.model, record.stream = chat.model, bool(chat.stream)
            record.tokens_planned = reply.length
            plan = self._admission.plan(request, record)
            call = _Call(request, chat, reply, record=record, plan=plan, start=start)
            return await (self._streamed(call) if chat.stream else self._whole(call))

    async def _streamed(self, call: "_Call") -> web.StreamResponse:
        if call.request.version < HttpVersion11:
            raise bad_request("streams need HTTP/1.1", "stream")
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        response.enable_chunked_encoding()
        await response.prepare(call.request)
        frames = call.frames()
        broken = await self._send_tokens(call, Wire(call.transport(), frames))
        if broken is None:
            await response.write(frames.ending(call.reply.finish_reason, call.usage()))
            await response.write_eof()
            return response
        if broken is Break.CUT:
            reset(call.transport())
        elif broken is Break.ERROR:
            await response.write(error_event(ProviderError(500).body()))
        self._admission.broke_off(call.record, broken)
        return response

    async def _whole(self, call: "_Call") -> web.Response:
        broken = await self._send_tokens(call, Unsent())
        if broken is Break.ERROR:
            raise ProviderError(500)
        if broken is not None:
            self._admission.broke_off(call.record, broken)
            reset(call.transport())
        return web.Response(body=call.body(), content_type="application/json")

    async def _send_tokens(self, call: "_Call", sink: Sink) -> Break | None:
        stream = TokenStream(
            call.plan,
            tokens=call.reply.tokens(),
            sink=sink,
            record=call.record,
            log=self._log,
            dice=self._dice,
            start=call.start,
        )
        self._ticker.add(stream.first_due, stream)
        try:
            return await stream.done
        finally:
            stream.close()


class _Call:
    """One call under way and the values that belong to it."""

    def __init__(
        self,
        request: web.Request,
        chat: ChatRequest,
        reply: Reply,
        *,
        record: CallRecord,
        plan: CallPlan,
        start: float,
    ) -> None:
        self.request = request
        self.chat = chat
        self.reply = reply
        self.record = record
        self.plan = plan
        self.start = start

    def transport(self) -> asyncio.Transport:
        """The connection. Raises ConnectionResetError when it is gone."""
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        return transport

    def usage(self) -> Usage:
        """The usage of the whole answer."""
        return Usage(prompt_tokens(self.chat.messages), self.reply.length)

    def frames(self) -> ChunkFrames:
        """The frames of a streamed answer."""
        return ChunkFrames(
            self.record.id,
            int(self.record.started),
            self.chat.model,
            include_usage=self.chat.include_usage,
            whole_deltas=self.reply.whole_deltas,
        )

    def body(self) -> bytes:
        """The body of an answer in one piece."""
        return completion_body(
            self.record.id,
            int(self.record.started),
            self.chat.model,
            message=self.reply.message(),
            finish_reason=self.reply.finish_reason,
            usage=self.usage(),
        )
