"""What a lookup is about: whether a request can be cached at all, its scope, its key. Pure.

The scope is what a hit must have in common with the request: a hard filter, never a soft score.
What is compared inside it is the last message, which must be the user's and one text. A caller says
that an answer is to be neither looked up nor kept by `"metadata": {"tidegate_cache": "no-store"}`.
"""

import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import UNSET

from tidegate.contracts import no_store
from tidegate.contracts.chat import Chat, ChatRequest, parse_chat
from tidegate.contracts.chat_messages import ChatMessage
from tidegate.contracts.errors import InvalidRequest

_VERSION: Final = 1
_NAMESPACE: Final = uuid.UUID("6b0f1d5c-1c5e-4d0b-9d5f-7a3b1f6f2c11")
_encoder = msgspec.json.Encoder(order="sorted")
_BLANKS = re.compile(r"\s+")

# No part of what is asked: how the answer comes, and what the caller notes down.
_NOT_ASKED: Final = frozenset(
    {
        *("stream", "stream_options", "store", "service_tier"),
        *("user", "safety_identifier", "metadata", "prompt_cache_key"),
    }
)
# They have a place of their own in the scope, or are refused before.
_APART: Final = frozenset({"model", "messages", "n", "response_format", "tools", "logprobs"})
_TOOL_FIELDS: Final = ("tools", "tool_choice", "functions", "function_call", "web_search_options")
_MEDIA_FIELDS: Final = ("audio", "modalities")


class Bypass(StrEnum):
    """Why a request can neither be looked up nor have its answer stored."""

    UNREADABLE = "unreadable"
    """It is no Chat Completions body that the platform takes, more than one choice included."""
    NO_STORE = "no_store"
    """The caller asked not to be cached."""
    TOOLS = "tools"
    """It offers tools or functions or tells of calls of them: its answer may be an action."""
    MULTIMODAL = "multimodal"
    """A message of it is more than one text, or sound is to come back."""
    TEMPERATURE = "temperature"
    """It asks for variety: the temperature is above the bound."""
    LOGPROBS = "logprobs"
    """It asks for log probabilities, which are not kept."""
    NOT_A_QUESTION = "not_a_question"
    """Its last message is not the user's."""
    EMPTY = "empty"
    """Its last message holds nothing but white space."""
    TOO_LONG = "too_long"
    """Its last message, or all of it, is over the bound."""


class ExactOnly(StrEnum):
    """Why a request is looked up by the exact tier alone."""

    LONG = "long_question"
    """More than people write who ask something, or more than the guard reads."""
    TEMPLATED = "templated_question"
    """Many lines: a template that was filled in, or something pasted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is cached; sizes in characters, words, lines, and bytes of UTF-8."""

    temperature: float = 0.7
    question_characters: int = 2_000
    question_words: int = 200
    question_lines: int = 12
    message_bytes: int = 32 * 1024
    body_bytes: int = 256 * 1024


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request that can be cached.

    `key` is 64 hexadecimal digits that name it within its tenant, `entry_id` a UUID made of them.
    `question` is its last message, normalised; `exact_only` None: like ones are looked for too.
    `facts` are what the scope is made of, as canonical JSON or digests.
    """

    tenant: str
    model: str
    key: str
    entry_id: str
    question: str
    exact_only: ExactOnly | None
    facts: Mapping[str, str]

    def scope(self, embedder: str) -> str:
        """The digest of what a hit must have in common, with an embedder of this fingerprint."""
        return digest_of("scope", *self.facts.values(), embedder)


def read_prompt(tenant: str, model: str, body: bytes, limits: Limits) -> Prompt | Bypass:
    """What a request is about, or why it cannot be cached; whatever the body is, one of both.

    `model` is the public model, which counts; the body's own name of it does not.
    """
    if len(body) > limits.body_bytes:
        return Bypass.TOO_LONG
    try:
        chat = parse_chat(body)
    except InvalidRequest:
        return Bypass.UNREADABLE
    bypass = _refusal(chat, limits)
    if bypass is not None:
        return bypass
    last = chat.request.messages[-1]
    facts = _facts(tenant, model, chat)
    question = normalised(_text(last) or "")
    key = digest_of("key", *facts.values(), question)
    return Prompt(
        tenant, model, key, entry_id_of(key), question, _exact_only(question, limits), facts
    )


def normalised(text: str) -> str:
    """A message as it is compared: NFC, trimmed; in a single line all white space is one blank.

    Several lines keep theirs: in code and lists it has a meaning.
    """
    composed = unicodedata.normalize("NFC", text).strip()
    if len(composed.splitlines()) > 1:
        return composed
    return _BLANKS.sub(" ", composed)


def entry_id_of(key: str) -> str:
    """The entry's id of a key: a UUID in its usual form."""
    return str(uuid.uuid5(_NAMESPACE, key))


def digest_of(*parts: str) -> str:
    """SHA-256 over a canonical JSON array of the parts, as 64 hexadecimal digits."""
    return sha256(_encoder.encode([_VERSION, *parts])).hexdigest()


def _refusal(chat: Chat, limits: Limits) -> Bypass | None:
    """The first reason that applies, the caller's own wish before all others."""
    request = chat.request
    return next(
        (
            bypass
            for applies, bypass in (
                (_asks_no_store(request), Bypass.NO_STORE),
                (_has_tools(chat), Bypass.TOOLS),
                (_has_media(chat), Bypass.MULTIMODAL),
                ((request.temperature or 0.0) > limits.temperature, Bypass.TEMPERATURE),
                (bool(request.logprobs or request.top_logprobs), Bypass.LOGPROBS),
                (request.messages[-1].role != "user", Bypass.NOT_A_QUESTION),
                *_refusals_of_text(request.messages[-1], limits),
            )
            if applies
        ),
        None,
    )


def _refusals_of_text(message: ChatMessage, limits: Limits) -> Iterator[tuple[bool, Bypass]]:
    text = _text(message) or ""
    yield not text.strip(), Bypass.EMPTY
    yield len(text.encode()) > limits.message_bytes, Bypass.TOO_LONG


def _asks_no_store(request: ChatRequest) -> bool:
    # Whoever writes another value there does not want what everybody gets: that is a doubt.
    return no_store.MEMBER in (request.metadata or {})


def _has_tools(chat: Chat) -> bool:
    request = chat.request
    given = [getattr(request, name, None) or chat.extra.get(name) for name in _TOOL_FIELDS]
    in_messages = (each.role == "tool" or each.tool_calls for each in request.messages)
    return any(given) or any(in_messages)


def _has_media(chat: Chat) -> bool:
    if any(chat.extra.get(name) is not None for name in _MEDIA_FIELDS):
        return True
    return any(
        _text(message) is None for message in chat.request.messages if message.content is not None
    )


def _text(message: ChatMessage) -> str | None:
    """The text of a message that is one text; a single part of text counts as one."""
    content = message.content
    if isinstance(content, str):
        return content
    if content is not None and len(content) == 1 and content[0].keys() == {"type", "text"}:
        text = content[0]["text"]
        return text if content[0]["type"] == "text" and isinstance(text, str) else None
    return None


def _facts(tenant: str, model: str, chat: Chat) -> dict[str, str]:
    request = chat.request
    before, last = request.messages[:-1], request.messages[-1]
    system = [each for each in before if each.role in {"system", "developer"}]
    return {
        "tenant": tenant,
        "model": model,
        "system": _digest_of_messages(system),
        # All of it, so that where a system message stands counts too.
        "history": _digest_of_messages(before),
        "parameters": _encoder.encode(_parameters(chat)).decode(),
        "response_format": _encoder.encode(request.response_format or None).decode(),
        "name": last.name or "",
    }


def _digest_of_messages(messages: Iterable[ChatMessage]) -> str:
    told = [
        msgspec.structs.replace(each, content=content) if (content := _text(each)) else each
        for each in messages
    ]
    return digest_of("messages", _encoder.encode(told).decode()) if told else ""


def _parameters(chat: Chat) -> dict[str, Any]:
    """Whatever may change the answer; null is the same as nothing."""
    fields = chat.request.__struct_fields__
    known = {name: getattr(chat.request, name) for name in fields if name not in _APART}
    return {
        name: value
        for name, value in (known | dict(chat.extra)).items()
        if value is not UNSET and value is not None and name not in _NOT_ASKED
    }


def _exact_only(question: str, limits: Limits) -> ExactOnly | None:
    if len(question) > limits.question_characters or len(question.split()) > limits.question_words:
        return ExactOnly.LONG
    lines = sum(1 for line in question.splitlines() if line.strip())
    return ExactOnly.TEMPLATED if lines > limits.question_lines else None
