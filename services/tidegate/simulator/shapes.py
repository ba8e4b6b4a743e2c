"""Answers with a shape: JSON as `response_format` asks for it, and calls of the tools on offer.

As pure as prose: the same seed, messages and shape give the same answer. JSON fills every property
of its schema with a value of the right type. Tools are called when `tool_choice` demands it, and
by default unless the last message is a tool's result, which is answered in prose: so that an
agent's loop ends. One tool is called, the first or the named one; with `parallel_tool_calls: true`
each is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol

import msgspec

from tidegate.simulator.answer import Answer, answer, digest_of, text_tokens
from tidegate.simulator.requests import ChatRequest, Function

# A schema can ask for more of itself within itself, without end.
_DEEPEST: Final = 12
_MOST_VALUES: Final = 500
_TOKEN: Final = re.compile(r"\w+|\W{1,3}")


class Reply(Protocol):
    """What there is to send: exactly `length` tokens.

    `whole_deltas`: each token is a chunk's whole delta, as JSON; else it is text, ready to stand
    within JSON's quotes.
    """

    whole_deltas: ClassVar[bool]

    @property
    def length(self) -> int:
        """How many tokens there are."""

    @property
    def finish_reason(self) -> str:
        """OpenAI's word for the end."""

    def tokens(self) -> Iterator[bytes]:
        """The tokens, ASCII."""

    def message(self) -> dict[str, Any]:
        """The message of an answer in one piece, without its role."""


def reply_to(seed: int, request: ChatRequest, messages: Sequence[Mapping[str, Any]]) -> Reply:
    """What the model answers. Raises ProviderError (400) for a tool that is not on offer."""
    called = request.called_tools()
    if called:
        return _tool_calls(digest_of(seed, messages), called, request.token_limit)
    schema = request.json_schema()
    if schema is not None:
        return _json_text(digest_of(seed, messages), schema, request.token_limit)
    return Prose(answer(seed, messages, request.token_limit))


@dataclass(frozen=True, slots=True)
class Prose:
    """Sentences."""

    whole_deltas: ClassVar = False
    answer: Answer

    @property
    def length(self) -> int:
        """As asked for, or of natural length."""
        return self.answer.length

    @property
    def finish_reason(self) -> str:
        """`length` where a limit was given."""
        return self.answer.finish_reason

    def tokens(self) -> Iterator[bytes]:
        """The words."""
        return self.answer.tokens()

    def message(self) -> dict[str, Any]:
        """The whole text."""
        return {"content": self.answer.text()}


@dataclass(frozen=True, slots=True)
class JsonText:
    """JSON as text, broken off where a limit says so."""

    whole_deltas: ClassVar = False
    pieces: tuple[str, ...]
    finish_reason: Literal["stop", "length"]

    @property
    def length(self) -> int:
        """One token for each piece."""
        return len(self.pieces)

    def tokens(self) -> Iterator[bytes]:
        """The pieces, with JSON's own quotes escaped."""
        return (msgspec.json.encode(piece)[1:-1] for piece in self.pieces)

    def message(self) -> dict[str, Any]:
        """The whole text."""
        return {"content": "".join(self.pieces)}


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of the call number `index`; the first piece has the id and the name."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""

    def as_openai(self) -> dict[str, Any]:
        """OpenAI's fragment of a tool call."""
        if not self.id:
            return {"index": self.index, "function": {"arguments": self.arguments}}
        function = {"name": self.name, "arguments": self.arguments}
        return {"index": self.index, "id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """Calls of tools and no text."""

    whole_deltas: ClassVar = True
    fragments: tuple[Fragment, ...]
    finish_reason: Literal["tool_calls", "length"]

    @property
    def length(self) -> int:
        """One token for each fragment."""
        return len(self.fragments)

    def tokens(self) -> Iterator[bytes]:
        """A delta for each fragment."""
        return (
            msgspec.json.encode({"tool_calls": [fragment.as_openai()]})
            for fragment in self.fragments
        )

    def message(self) -> dict[str, Any]:
        """The calls, each put together."""
        calls: list[dict[str, Any]] = []
        for fragment in self.fragments:
            if fragment.id:
                function = {"name": fragment.name, "arguments": ""}
                calls.append({"id": fragment.id, "type": "function", "function": function})
            calls[fragment.index]["function"]["arguments"] += fragment.arguments
        return {"content": None, "tool_calls": calls}


def _tool_calls(digest: int, functions: Sequence[Function], limit: int | None) -> ToolCalls:
    fragments: list[Fragment] = []
    for index, function in enumerate(functions):
        fragments.append(Fragment(index, "", f"call_{digest:016x}{index}", function.name))
        arguments = filled(function.parameters or {"type": "object"}, digest)
        fragments += (Fragment(index, piece) for piece in _pieces(arguments))
    kept = tuple(fragments[:limit])
    return ToolCalls(kept, "tool_calls" if len(kept) == len(fragments) else "length")


def _json_text(digest: int, schema: Mapping[str, Any], limit: int | None) -> JsonText:
    pieces = _pieces(filled(schema, digest))
    kept = tuple(pieces[:limit])
    return JsonText(kept, "stop" if len(kept) == len(pieces) else "length")


def _pieces(value: object) -> list[str]:
    return _TOKEN.findall(json.dumps(value))


def filled(schema: Mapping[str, Any], digest: int) -> Any:
    """A value that the JSON schema allows, as far as types, choices and bounds go.

    What is nested too deep is null. Strings are words of the digest's text.
    """
    return _Filler(schema, text_tokens(digest)).value(schema, 0)


class _Filler:
    def __init__(self, root: Mapping[str, Any], words: Iterator[bytes]) -> None:
        self._root = root
        self._words = words
        self._left = _MOST_VALUES

    def value(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            return None
        given = self._resolved(schema)
        for choices in ("anyOf", "oneOf", "allOf"):
            if isinstance(given.get(choices), list) and given[choices]:
                return self.value(given[choices][0], depth + 1)
        if "const" in given:
            return given["const"]
        if isinstance(given.get("enum"), list) and given["enum"]:
            return given["enum"][0]
        return self._typed(given, depth)

    def _typed(self, given: Mapping[str, Any], depth: int) -> Any:
        match _type_of(given):
            case "object":
                properties = given.get("properties")
                inner = properties if isinstance(properties, dict) else {}
                return {name: self.value(each, depth + 1) for name, each in inner.items()}
            case "array":
                return [self.value(given.get("items"), depth + 1)]
            case "integer" | "number":
                return _number(given)
            case "boolean":
                return True
            case "null":
                return None
        return next(self._words).decode("ascii").strip(" .").lower()

    def _resolved(self, schema: object) -> Mapping[str, Any]:
        given = schema if isinstance(schema, dict) else {}
        reference = given.get("$ref")
        if not isinstance(reference, str):
            return given
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(name) if isinstance(found, dict) and name else found
        # One that leads to another one is not worth the loop that it could be.
        return found if isinstance(found, dict) and "$ref" not in found else {"type": "null"}


def _type_of(given: Mapping[str, Any]) -> object:
    kind = given.get("type", "object" if "properties" in given else "string")
    return (
        next((each for each in kind if each != "null"), "null") if isinstance(kind, list) else kind
    )


def _number(given: Mapping[str, Any]) -> int | float:
    least, most = (given.get(name) for name in ("minimum", "maximum"))
    if isinstance(least, int | float) and least > 1:
        return least
    return most if isinstance(most, int | float) and most < 1 else 1
