"""The messages of a Chat Completions body: which of them make sense, as OpenAI has it.

Only what every provider demands is checked. What an image, a tool or a schema holds is the caller's
and the provider's own.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from tidegate.contracts.errors import InvalidRequest


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message. `content` is text, content parts, or null beside tool calls."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | None | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    refusal: str | None | UnsetType = UNSET
    # What a reasoning model thought, sent back by clients that were sent it.
    reasoning_content: str | None | UnsetType = UNSET


def check_messages(messages: list[ChatMessage], *, path: str) -> None:
    """Returns if the messages can be sent; `path` is where they stand in the caller's request.

    Raises:
        InvalidRequest: names the field.
    """
    for index, message in enumerate(messages):
        at = f"{path}[{index}]"
        _check_content(message, at)
        _check_tools(message, at)


def _check_content(message: ChatMessage, at: str) -> None:
    content = message.content
    if content is None:
        if message.role != "assistant" or not (message.tool_calls or message.refusal):
            raise _refusal(f"{at}.content", "is required here")
        return
    if isinstance(content, str):
        return
    if not content:
        raise _refusal(f"{at}.content", "must not be an empty list")
    for index, part in enumerate(content):
        _require_text(part, "type", f"{at}.content[{index}]")


def _check_tools(message: ChatMessage, at: str) -> None:
    if message.role == "tool":
        if not message.tool_call_id:
            raise _refusal(f"{at}.tool_call_id", "is required in a message of the role tool")
    elif message.tool_call_id is not UNSET:
        raise _refusal(f"{at}.tool_call_id", "belongs to messages of the role tool")
    if message.tool_calls is UNSET or message.tool_calls is None:
        return
    if message.role != "assistant":
        raise _refusal(f"{at}.tool_calls", "belongs to messages of the role assistant")
    if not message.tool_calls:
        raise _refusal(f"{at}.tool_calls", "must not be an empty list")
    for index, call in enumerate(message.tool_calls):
        _check_call(call, f"{at}.tool_calls[{index}]")


def _check_call(call: dict[str, Any], at: str) -> None:
    _require_text(call, "id", at)
    _require_text(call, "type", at)
    if call["type"] != "function":
        return
    function = call.get("function")
    if not isinstance(function, dict):
        raise _refusal(f"{at}.function", "must be an object")
    _require_text(function, "name", f"{at}.function")
    if not isinstance(function.get("arguments"), str):
        raise _refusal(f"{at}.function.arguments", "must be text")


def _require_text(value: dict[str, Any], name: str, at: str) -> None:
    given = value.get(name)
    if not isinstance(given, str) or not given:
        raise _refusal(f"{at}.{name}", "must be text that is not empty")


def _refusal(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {why}", field=field)
