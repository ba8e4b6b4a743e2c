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
# No model reads or writes as much; a count beyond it would not fit where counts are added up.
_MOST_TOKENS: Final = 10**12


class UnreadableChunkError(Exception):
    """A chunk that is not one of a chat completion."""


class ErrorChunkError(Exception):
    """The provider reports an error in mid-stream. `kind` and `code` are its words or None.

    `codes` are all of them, to be judged by; so is `text`, which may quote the prompt.
    """

    def __init__(
        self,
        kind: str | None,
        code: str | None,
        codes: frozenset[str] = frozenset(),
        text: str = "",
    ) -> None:
        super().__init__("an error in the stream")
        self.kind = kind
        self.code = code
        self.codes = codes
        self.text = text


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


_NOTHING_TOLD: Final = _Details()


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
    usage: Any = None
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

    `usage` is None until the provider tells it, and the most it told of each kind then;
    `finish_reasons` are by choice, in the order in which the choices ended; `begun` says that there
    was a choice at all.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reasons: dict[int, str] = {}
        self.begun = False

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
                self.usage = largest(self.usage, read_usage(chunk.usage))
            deltas: list[Delta] = []
            for choice in chunk.choices or ():
                self._take(choice, deltas)
        except UNDECODABLE as error:
            # The decoder's text can quote what it stumbled over.
            raise UnreadableChunkError from error
        return deltas

    def _take(self, choice: _Choice, deltas: list[Delta]) -> None:
        index = choice.index or 0
        self.begun = True
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


def read_usage(given: object) -> Usage | None:
    """An OpenAI-shaped usage, counts that cannot be put right; None for what is none.

    An answer is not thrown away because its bill cannot be read.
    """
    try:
        told = msgspec.convert(given, _Usage)
    except UNDECODABLE:
        return None
    if told.prompt_tokens is None and told.completion_tokens is None:
        return None
    prompt = told.prompt_tokens_details or _NOTHING_TOLD
    completion = told.completion_tokens_details or _NOTHING_TOLD
    input_tokens, output_tokens = _count(told.prompt_tokens), _count(told.completion_tokens)
    return Usage(
        input_tokens=input_tokens,
        cached_input_tokens=min(_count(prompt.cached_tokens), input_tokens),
        output_tokens=output_tokens,
        reasoning_tokens=min(_count(completion.reasoning_tokens), output_tokens),
    )


def largest(one: Usage | None, other: Usage | None) -> Usage | None:
    """The larger count of each kind: what was told once was used, whatever is told later."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=max(one.input_tokens, other.input_tokens),
        cached_input_tokens=max(one.cached_input_tokens, other.cached_input_tokens),
        output_tokens=max(one.output_tokens, other.output_tokens),
        reasoning_tokens=max(one.reasoning_tokens, other.reasoning_tokens),
    )


def _count(given: int | None) -> int:
    return min(max(given or 0, 0), _MOST_TOKENS)


def codes_of(error: object) -> frozenset[str]:
    """The codes and types in an OpenAI-shaped error, Azure's inner ones too, in lower case."""
    if not isinstance(error, dict):
        return frozenset()
    inner = error.get("innererror") or error.get("inner_error")
    words = [
        error.get("code"),
        error.get("type"),
        inner.get("code") if isinstance(inner, dict) else None,
    ]
    return frozenset(word.lower() for word in words if isinstance(word, str))


def _error(given: object) -> ErrorChunkError:
    words = given if isinstance(given, dict) else {}
    kind, code, text = (words.get(name) for name in ("type", "code", "message"))
    return ErrorChunkError(
        kind if isinstance(kind, str) else None,
        str(code) if code is not None else None,
        codes_of(words),
        text if isinstance(text, str) else "",
    )
