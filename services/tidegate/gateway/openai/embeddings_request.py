"""What a call for embeddings asks for. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.extra import encode_with, extra_members
from tidegate.contracts.json_body import decode_body, require_unique_keys

MOST_INPUTS: Final = 2048
# Tokens are values too; OpenAI takes 300,000 of them at once.
_MOST_VALUES: Final = 310_000

_Token = Annotated[int, Meta(ge=0, lt=2**31)]


class EmbeddingsRequest(msgspec.Struct, omit_defaults=True):
    """The fields that are offered for every model; `input` is text or tokens, one or many."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | list[str | _Token | list[_Token]]
    dimensions: Annotated[int, Meta(ge=1, le=2**20)] | None | UnsetType = UNSET
    encoding_format: Literal["float", "base64"] | None | UnsetType = UNSET
    user: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A checked request, and `extra` fields that the model's route has to let through."""

    request: EmbeddingsRequest
    extra: Mapping[str, Any]

    def body(self) -> bytes:
        """What is sent on."""
        return encode_with(self.request, self.extra)


FIELDS: Final = frozenset(each.encode_name for each in msgspec.structs.fields(EmbeddingsRequest))
_decoder = msgspec.json.Decoder(EmbeddingsRequest)


def parse_embeddings(body: bytes) -> Embeddings:
    """What a POST /v1/embeddings asks for.

    Raises:
        InvalidRequest: names the field.
    """
    request = decode_body(_decoder, body, most=_MOST_VALUES)
    require_unique_keys(body)
    if isinstance(request.input, list):
        _check_list(request.input)
    elif not request.input:
        raise _refusal("must not be empty")
    return Embeddings(request, extra_members(body, FIELDS))


def _check_list(given: list[str | int | list[int]]) -> None:
    kinds = {type(item) for item in given}
    if len(kinds) != 1:
        raise _refusal("must hold texts only, tokens only, or lists of tokens only, at least one")
    if kinds != {int} and len(given) > MOST_INPUTS:
        raise _refusal(f"has {len(given)} items; {MOST_INPUTS} are taken at once")
    if kinds != {int} and not all(given):
        raise _refusal("must not hold an empty item")


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(f"input {why}", field="input")
