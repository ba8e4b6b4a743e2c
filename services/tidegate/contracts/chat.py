"""The request that a job carries: a Chat Completions body, checked and made canonical.

Canonical means: only fields that were given, keys sorted, no white space. Equal requests have equal
bytes, whatever the client's library wrote.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidegate.contracts.json_body import DEEPEST, decode_body, too_deep


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message. `content` is text, content parts, or null beside tool calls."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    refusal: str | None | UnsetType = UNSET


class ChatRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What may be asked. A field that is not here is refused, never ignored.

    `stream` is taken and dropped, for every job can be streamed.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None | UnsetType = UNSET
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | None | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | None | UnsetType = UNSET
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None | UnsetType = UNSET
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None | UnsetType = UNSET
    seed: int | None | UnsetType = UNSET
    stop: str | Annotated[list[str], Meta(max_length=4)] | None | UnsetType = UNSET
    n: Literal[1] | None | UnsetType = UNSET
    response_format: dict[str, Any] | UnsetType = UNSET
    tools: list[dict[str, Any]] | UnsetType = UNSET
    tool_choice: str | dict[str, Any] | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    reasoning_effort: str | None | UnsetType = UNSET
    logprobs: bool | None | UnsetType = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None | UnsetType = UNSET
    user: str | UnsetType = UNSET
    metadata: dict[str, str] | None | UnsetType = UNSET
    stream: bool | None | UnsetType = UNSET


_decoder = msgspec.json.Decoder(ChatRequest)
_encoder = msgspec.json.Encoder(order="sorted")


def parse_chat(body: bytes | msgspec.Raw, *, path: str = "") -> ChatRequest:
    """Decodes and checks a body of JSON; `path` is where it stands in the caller's request.

    Raises:
        InvalidRequest: names the field, with UNSUPPORTED_FIELD for one that is not offered.
    """
    request = decode_body(_decoder, body, path=path)
    for name in _FREE_FORM:
        if _is_deep(getattr(request, name), DEEPEST):
            raise too_deep(f"{path}.{name}".strip("."))
    request.stream = UNSET
    return request


def canonical_chat(request: ChatRequest) -> bytes:
    """The canonical bytes of a request."""
    return _encoder.encode(request)


# Where a caller's own structure is carried as it is.
_FREE_FORM: Final = ("messages", "tools", "tool_choice", "response_format")


def _is_deep(value: object, levels: int) -> bool:
    if isinstance(value, ChatMessage):
        return _is_deep(value.content, levels) or _is_deep(value.tool_calls, levels)
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(each, levels - 1) for each in inner)
