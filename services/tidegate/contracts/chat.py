"""The request that a job carries: a Chat Completions body, checked and made canonical.

Canonical means: only fields that were given, keys sorted, no white space. Equal requests have equal
bytes, whatever the client's library wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidegate.contracts.chat_messages import ChatMessage, check_messages
from tidegate.contracts.extra import encode_with, extra_members
from tidegate.contracts.json_body import (
    DEEPEST,
    decode_body,
    is_deep,
    require_unique_keys,
    too_deep,
)


class ChatRequest(msgspec.Struct, omit_defaults=True):
    """The fields of Chat Completions that are offered for every model.

    `stream` is taken and dropped, for every job can be streamed.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None | UnsetType = UNSET
    max_completion_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | None | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | None | UnsetType = UNSET
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None | UnsetType = UNSET
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None | UnsetType = UNSET
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


@dataclass(frozen=True, slots=True)
class Chat:
    """A checked request: the fields that are always offered, and `extra` ones.

    Those are part of the request like any other, once the model's route was found to let them
    through (`extra.require_offered`).
    """

    request: ChatRequest
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The public model."""
        return self.request.model


FIELDS: Final = frozenset(each.encode_name for each in msgspec.structs.fields(ChatRequest))

_decoder = msgspec.json.Decoder(ChatRequest)


def parse_chat(
    body: bytes | msgspec.Raw, *, path: str = "", apart: frozenset[str] = frozenset()
) -> Chat:
    """Decodes and checks a body of JSON; `path` is where it stands in the caller's request.

    Fields of the names `apart` are left to the surface, which reads them by itself.

    Raises:
        InvalidRequest: names the field.
    """
    request = decode_body(_decoder, body, path=path)
    require_unique_keys(body, path=path)
    for name in _FREE_FORM:
        if is_deep(getattr(request, name), DEEPEST):
            raise too_deep(f"{path}.{name}".strip("."))
    check_messages(request.messages, path=f"{path}.messages".strip("."))
    request.stream = UNSET
    return Chat(request, extra_members(body, FIELDS | apart, path=path))


def canonical_chat(chat: Chat) -> bytes:
    """The canonical bytes of a request."""
    return encode_with(chat.request, chat.extra)


# Where a caller's own structure is carried as it is.
_FREE_FORM: Final = ("messages", "tools", "tool_choice", "response_format")
