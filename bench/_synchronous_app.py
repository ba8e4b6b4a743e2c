"""The server that most teams have, and the one that a careful team has: FastAPI and `openai`.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python -m uvicorn bench._synchronous_app:app

`POST /ask` is a plain `def`, so FastAPI runs it in a thread; `POST /stream` is a coroutine that
passes the tokens on. Both clients are made once, with the package's own defaults (600 s, two
retries, 1,000 connections). Routes are added without decorators, which are untyped where FastAPI is
not installed.

The answer of `/ask` is a response made by hand. With a model as the return type, as FastAPI's own
tutorial has it, a plain `def` has its result checked in the same 40 threads, behind all requests
that wait for one: then nobody gets an answer until the last request has begun. That is left out.
"""

from collections.abc import AsyncIterator

import msgspec
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from openai import AsyncOpenAI, AsyncStream, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

_MODEL = "sim-small"

_client = OpenAI()
_async_client = AsyncOpenAI()


class Question(BaseModel):
    """What a user asks."""

    text: str
    max_tokens: int


def ask(question: Question) -> JSONResponse:
    """The call in the request, the whole answer at its end."""
    completion = _client.chat.completions.create(
        model=_MODEL,
        messages=[{"role": "user", "content": question.text}],
        max_tokens=question.max_tokens,
    )
    return JSONResponse({"text": completion.choices[0].message.content})


async def stream(question: Question) -> StreamingResponse:
    """The tokens as they come; an error before the first is still an HTTP error."""
    chunks = await _async_client.chat.completions.create(
        model=_MODEL,
        messages=[{"role": "user", "content": question.text}],
        max_tokens=question.max_tokens,
        stream=True,
    )
    return StreamingResponse(_events(chunks), media_type="text/event-stream")


async def _events(chunks: AsyncStream[ChatCompletionChunk]) -> AsyncIterator[bytes]:
    # The text alone: to dump the chunk again, as many do, would cost more.
    async with chunks:
        async for chunk in chunks:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield b"data: %b\n\n" % msgspec.json.encode(text)


app = FastAPI()
app.add_api_route("/ask", ask, methods=["POST"])
app.add_api_route("/stream", stream, methods=["POST"])
