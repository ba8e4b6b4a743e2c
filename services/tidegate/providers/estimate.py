"""How many tokens a request has, where its provider does not say.

The formula: a token for every four bytes of text in UTF-8, which is what English prose and most
tokenizers' other languages come near to; 3 for each message, for the marks around it, and 3 for the
answer's opening; 765 for an image (85 at low detail), as OpenAI counts one of 1024 x 1024. No
tokenizer is asked: every model has its own, and most are a download.

What it is good for: a bill that says `estimated`, within a third or so for prose; code, digits and
rare scripts have more tokens than it says. Audio and files inside a request are not counted.
"""

from typing import Any, Final

import msgspec

from tidegate.contracts.events import UNDECODABLE

_BYTES_PER_TOKEN: Final = 4
_PER_MESSAGE: Final = 3
_OPENING: Final = 3
_IMAGE: Final = 765
_SMALL_IMAGE: Final = 85


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")
    refusal: str | None = None


class _Chat(msgspec.Struct):
    messages: list[_Message]
    tools: msgspec.Raw = msgspec.Raw(b"")
    response_format: msgspec.Raw = msgspec.Raw(b"")


class _Embeddings(msgspec.Struct):
    input: str | list[str | int | list[int]]


_chat = msgspec.json.Decoder(_Chat)
_embeddings = msgspec.json.Decoder(_Embeddings)


def estimate_input_tokens(request: bytes) -> int:
    """The tokens of a Chat Completions body, or of one for embeddings; see the module's formula.

    Never fails: a body that is neither counts by its bytes.
    """
    try:
        return _of_chat(_chat.decode(request))
    except UNDECODABLE:
        pass
    try:
        return _of_embeddings(_embeddings.decode(request))
    except UNDECODABLE:
        return _tokens(len(request))


def _of_chat(chat: _Chat) -> int:
    total = _OPENING + _tokens(len(chat.tools)) + _tokens(len(chat.response_format))
    for message in chat.messages:
        total += _PER_MESSAGE + _tokens(len(message.tool_calls))
        total += _of_text(message.name) + _of_text(message.refusal)
        if isinstance(message.content, list):
            total += sum(_of_part(part) for part in message.content)
        else:
            total += _of_text(message.content)
    return total


def _of_part(part: dict[str, Any]) -> int:
    image = part.get("image_url")
    if image is not None:
        small = isinstance(image, dict) and image.get("detail") == "low"
        return _SMALL_IMAGE if small else _IMAGE
    # What else a part may hold is data, whose length says nothing of its tokens.
    texts = (part.get(name) for name in ("text", "refusal"))
    return sum(_of_text(text) for text in texts if isinstance(text, str))


def _of_embeddings(body: _Embeddings) -> int:
    given = body.input
    if isinstance(given, str):
        return _of_text(given)
    total = 0
    for item in given:
        if isinstance(item, str):
            total += _of_text(item)
        else:
            # Numbers are tokens already.
            total += 1 if isinstance(item, int) else len(item)
    return total


def _of_text(text: str | None) -> int:
    return _tokens(len(text.encode("utf-8", "surrogatepass"))) if text else 0


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
