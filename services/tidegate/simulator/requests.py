"""Request bodies: read, checked, and refused as OpenAI would, with the field named.

Parameters that would change the text (temperature, stop, …) are accepted and have no effect: the
simulated model has its answer already. What would change the shape of the answer is done (tools,
`response_format`) or refused.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from tidegate.simulator.errors import ProviderError, bad_request

LONGEST_ANSWER: Final = 200_000
MOST_INPUTS: Final = 2048
MOST_DIMENSIONS: Final = 4096

Body = TypeVar("Body", bound=msgspec.Struct)
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
TokenLimit = Annotated[int, msgspec.Meta(ge=1, le=LONGEST_ANSWER)]


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options` of a chat request."""

    include_usage: bool | None = None


class Message(msgspec.Struct, frozen=True):
    """A message, as far as it is checked: the role, and text or a list of parts."""

    role: Role
    content: str | list[dict[str, Any]] | None = None


class Function(msgspec.Struct, frozen=True):
    """A function on offer; `parameters` is the JSON schema of its arguments."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


class ToolName(msgspec.Struct, frozen=True):
    """A function by name."""

    name: str


class NamedTool(msgspec.Struct, frozen=True):
    """`tool_choice` for one tool in particular."""

    type: Literal["function"]
    function: ToolName


class JsonSchema(msgspec.Struct, frozen=True):
    """`response_format.json_schema`; without a schema any object will do."""

    name: str
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct, frozen=True):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """The parts of a chat completion request that have an effect."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    n: int | None = None
    logprobs: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def token_limit(self) -> int | None:
        """How many tokens the answer is to have; None where nobody says."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a chunk of usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def called_tools(self) -> list[Function]:
        """The functions that the answer calls. Raises ProviderError (400) for an unknown name."""
        offered = [tool.function for tool in self.tools or ()]
        choice = self.tool_choice
        if isinstance(choice, NamedTool):
            named = [each for each in offered if each.name == choice.function.name]
            if not named:
                raise bad_request("no tool of that name is on offer", "tool_choice")
            return named[:1]
        if choice == "none" or (choice != "required" and self.messages[-1].role == "tool"):
            return []
        return offered if self.parallel_tool_calls else offered[:1]

    def json_schema(self) -> dict[str, Any] | None:
        """The schema of an answer in JSON; None for an answer in prose."""
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        given = wanted.json_schema.schema if wanted.json_schema else None
        return given or {"properties": {"answer": {"type": "string"}}}


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """An embeddings request; `input` is one text or many, as text or as token numbers."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=MOST_DIMENSIONS)] | None = None

    def texts(self) -> list[str]:
        """One text per embedding asked for. Raises ProviderError (400) for an empty input."""
        given = self.input
        if isinstance(given, str):
            texts = [given]
        elif all(isinstance(item, int) for item in given):
            texts = [_as_text(given)]
        else:
            texts = [_as_text(item) for item in given]
        if not texts or not all(texts) or len(texts) > MOST_INPUTS:
            raise bad_request(f"1 to {MOST_INPUTS} inputs, none of them empty", "input")
        return texts


def _as_text(item: str | int | Sequence[str | int | list[int]]) -> str:
    if isinstance(item, str):
        return item
    return str(item) if isinstance(item, int) else " ".join(str(number) for number in item)


def read_chat(body: bytes) -> tuple[ChatRequest, list[Mapping[str, Any]]]:
    """The checked request, and its messages whole, as they were sent.

    Raises ProviderError (400) that names the field.
    """
    raw = _read_json(body)
    request = _convert(raw, ChatRequest)
    if request.n not in (None, 1):
        raise bad_request("only one choice is simulated", "n")
    if request.logprobs:
        raise bad_request("log probabilities are not simulated", "logprobs")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise bad_request("give max_tokens or max_completion_tokens, not both", "max_tokens")
    if request.stream_options is not None and not request.stream:
        raise bad_request("stream_options goes with stream: true only", "stream_options")
    return request, raw["messages"]


def read_embeddings(body: bytes) -> EmbeddingsRequest:
    """The checked request. Raises ProviderError (400) that names the field."""
    return _convert(_read_json(body), EmbeddingsRequest)


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request("the body is not valid JSON") from error
    if not isinstance(raw, dict):
        raise bad_request("the body must be a JSON object")
    return raw


def _convert(raw: dict[str, Any], kind: type[Body]) -> Body:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _named(error) from error


def _named(error: msgspec.ValidationError) -> ProviderError:
    """msgspec says "… - at `$.messages[0].role`"; OpenAI says param "messages[0].role"."""
    message, _, place = str(error).partition(" - at `")
    if not place and "missing required field `" in message:
        return bad_request(message, message.split("`")[1])
    return bad_request(message, place.strip("`").removeprefix("$.") or None)


def text_weight(text: str) -> int:
    """Tokens of a text by the simulator's rule: one for every four characters begun."""
    return (len(text) + 3) // 4


def prompt_tokens(messages: Sequence[Message]) -> int:
    """Tokens of a prompt by the simulator's rule.

    Every message counts 4, its text one for every four characters begun, and every content part
    that is not text (an image, a sound) 85.
    """
    return sum(4 + _content_weight(message.content) for message in messages)


def _content_weight(content: str | list[dict[str, Any]] | None) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return text_weight(content)
    texts = (part.get("text") for part in content)
    return sum(text_weight(text) if isinstance(text, str) else 85 for text in texts)
