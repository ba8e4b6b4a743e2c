"""A stream that is cut, at every byte of it: what is not whole never looks so."""

import asyncio

import pytest

from tests.support.provider_world import Provider, scripted, text_chunk
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers.chat_stream import ChatResult
from tidegate.providers.errors import ErrorKind, ProviderError

FINISH = text_chunk("", "stop")
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
)
TOLD = Usage(input_tokens=3, output_tokens=2)
BODY = (
    b": hb\n\n"
    + text_chunk("T\u00efde ")
    + text_chunk("turns")
    + FINISH
    + USAGE
    + b"data: [DONE]\n\n"
)
# The finish reason is there with the bracket that closes its chunk, whether its line ends or not.
WHOLE = BODY.index(FINISH) + len(FINISH) - 2
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = (
    HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in BODY.partition(FINISH))
    + b"0\r\n\r\n"
)


class Cut:
    """A provider that sends so many bytes of an answer and closes the connection."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.length = 0

    async def script(self, _: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(self.answer[: self.length])
        await writer.drain()
        writer.close()
        raise ConnectionError


async def ask(provider: Provider) -> ChatResult | ProviderError:
    provider.deltas.clear()
    try:
        return await provider.ask()
    except ProviderError as error:
        return error


async def test_a_body_that_ends_with_its_connection() -> None:
    """The worst case: HTTP itself cannot tell the end of such a body from a cut."""
    head = HEAD + b"Connection: close\r\n\r\n"
    cut = Cut(head + BODY)
    async with scripted(cut.script) as provider:
        for length in range(len(BODY) + 1):
            cut.length = len(head) + length
            outcome = await ask(provider)
            if length >= WHOLE:
                assert isinstance(outcome, ChatResult), length
                assert (outcome.finish_reasons, provider.text) == (["stop"], "T\u00efde turns")
                assert outcome.usage in (None, TOLD)
            else:
                assert isinstance(outcome, ProviderError), length
                assert outcome.reason is Reason.PROVIDER_STREAM_CUT
                assert outcome.kind is ErrorKind.RETRIABLE
                assert "T\u00efde turns".startswith(provider.text)


async def test_a_body_in_chunks_and_the_head_before_it() -> None:
    cut = Cut(CHUNKED)
    finish = CHUNKED.index(FINISH) + len(FINISH) - 2
    async with scripted(cut.script) as provider:
        for length in range(len(CHUNKED) + 1):
            cut.length = length
            outcome = await ask(provider)
            if isinstance(outcome, ChatResult):
                assert length >= finish
                assert (outcome.finish_reasons, provider.text) == (["stop"], "T\u00efde turns")
            else:
                # A line that HTTP has not handed on yet is none.
                assert length < finish + 16
                assert outcome.kind is ErrorKind.RETRIABLE
                assert "T\u00efde turns".startswith(provider.text)


async def test_what_a_provider_told_of_tokens_before_it_broke_is_kept() -> None:
    """It will be on the bill."""
    told = text_chunk("T") + USAGE
    cut = Cut(HEAD + b"Connection: close\r\n\r\n" + told)
    cut.length = len(cut.answer)
    async with scripted(cut.script) as provider:
        outcome = await ask(provider)
        assert isinstance(outcome, ProviderError)
        assert (outcome.reason, outcome.usage) == (Reason.PROVIDER_STREAM_CUT, TOLD)


@pytest.mark.parametrize("body", [b"data: [DONE]\n\n", b": hb\n\ndata: [DONE]\n\n", b"", b"\n\n"])
async def test_an_answer_without_anything_in_it_is_none(body: bytes) -> None:
    cut = Cut(HEAD + b"Connection: close\r\n\r\n" + body)
    cut.length = len(cut.answer)
    async with scripted(cut.script) as provider:
        outcome = await ask(provider)
        assert isinstance(outcome, ProviderError)
        assert outcome.reason is Reason.PROVIDER_STREAM_CUT
