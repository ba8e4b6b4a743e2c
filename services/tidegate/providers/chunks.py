"""The chunks of a streamed chat completion, decoded to deltas.

The format is OpenAI's (`chat.completion.chunk`), taken as others speak it too: `reasoning_content`
or `reasoning` beside `content`, nulls and missing fields almost anywhere, tool calls without index.
A field that is not known is skipped.
"""

from typing import Any, Final

import msgspec

from tidegate.contracts.events import UNDECODABLE, Delta, Usage

# The longest that is known has fourteen characters; what is kept of it stands in the log.
_FINISH_REASON_CHARACTERS: Final = 64


class UnreadableChunkError(Exception):
    """A chunk that is not one of a chat completion."""


class ErrorChunkError(Exception):
    """The provider reports an error in mid-stream. `kind` and `code` are its words or None."""

    def __init__(self, kind: str | None, code: str | None) -> None:
        super().__init__("an error in the stream")
        self.kind = kind
        self.code = code


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Content(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs: dict[str, Any] | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


_decoder = msgspec.json.Decoder(_Chunk)
_encoder = msgspec.json.Encoder()


class ChunkReader:
    """Takes the chunks of one answer in order and keeps what they say besides deltas.

    `usage` is None until the provider tells it; `finish_reasons` are by choice, in the order in
    which the choices ended.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reasons: dict[int, str] = {}

    def read(self, data: bytes) -> list[Delta]:
        """The deltas of one chunk.

        Raises:
            UnreadableChunkError: it is not one.
            ErrorChunkError: it is the provider's error.
        """
        try:
            chunk = _decoder.decode(data)
            if chunk.error is not None:
                raise _error(chunk.error)
            if chunk.usage is not None:
                self.usage = _usage(chunk.usage)
            deltas: list[Delta] = []
            for choice in chunk.choices or ():
                self._take(choice, deltas)
        except UNDECODABLE as error:
            # The decoder's text can quote what it stumbled over.
            raise UnreadableChunkError from error
        return deltas

    def _take(self, choice: _Choice, deltas: list[Delta]) -> None:
        index = choice.index or 0
        if choice.delta is not None:
            _collect(choice.delta, index, deltas)
        if choice.logprobs is not None:
            deltas.append(Delta(_encoder.encode(choice.logprobs).decode(), "logprobs", index))
        if choice.finish_reason:
            self.finish_reasons[index] = choice.finish_reason[:_FINISH_REASON_CHARACTERS]


def _collect(content: _Content, index: int, deltas: list[Delta]) -> None:
    reasoning = content.reasoning_content or content.reasoning
    if reasoning:
        deltas.append(Delta(reasoning, "reasoning", index))
    if content.content:
        deltas.append(Delta(content.content, "text", index))
    if content.refusal:
        deltas.append(Delta(content.refusal, "refusal", index))
    for place, fragment in enumerate(content.tool_calls or ()):
        deltas.append(Delta(_fragment(fragment, place), "tool_call", index))


def _fragment(fragment: dict[str, Any], place: int) -> str:
    """A fragment as it came, in the shape that the fold relies on: `index` is always a number."""
    if msgspec.convert(fragment, _ToolCall).index is None:
        fragment["index"] = place
    return _encoder.encode(fragment).decode()


def _usage(given: _Usage) -> Usage:
    prompt, completion = given.prompt_tokens_details, given.completion_tokens_details
    return Usage(
        input_tokens=given.prompt_tokens or 0,
        cached_input_tokens=(prompt.cached_tokens or 0) if prompt else 0,
        output_tokens=given.completion_tokens or 0,
        reasoning_tokens=(completion.reasoning_tokens or 0) if completion else 0,
    )


def _error(given: object) -> ErrorChunkError:
    words = given if isinstance(given, dict) else {}
    kind, code = (words.get(name) for name in ("type", "code"))
    return ErrorChunkError(
        kind if isinstance(kind, str) else None, str(code) if code is not None else None
    )
