"""What a chat completion asks for: the job, and how it is to be answered. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.contracts.chat import Chat, parse_chat
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.jobs import JobClass, OnDisconnect
from tidegate.contracts.json_body import decode_body

CLASS_HEADER: Final = "x-tidegate-class"
ON_DISCONNECT_HEADER: Final = "x-tidegate-on-disconnect"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
RETRY_COUNT_HEADER: Final = "x-stainless-retry-count"

# What the tiers of OpenAI's price list mean here; others are refused.
_TIERS: Final = {
    None: JobClass.INTERACTIVE,
    "auto": JobClass.INTERACTIVE,
    "default": JobClass.INTERACTIVE,
    "flex": JobClass.BATCH,
}
_POLICIES: Final[Mapping[str | None, OnDisconnect]] = {
    None: "cancel",
    "cancel": "cancel",
    "detach": "detach",
}


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`stream_options`; chunks are never padded, so that nobody may ask for it."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class HowToAnswer(msgspec.Struct, frozen=True):
    """The fields of a body that are no part of what is asked."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(HowToAnswer)
_APART: Final = frozenset(HowToAnswer.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat completion that was asked for.

    `idempotency_key` is empty and `retry_count` None where the client sent none.
    """

    chat: Chat
    job_class: JobClass
    on_disconnect: OnDisconnect
    stream: bool = False
    include_usage: bool = False
    idempotency_key: str = ""
    retry_count: int | None = None


def parse_completion(body: bytes, headers: Mapping[str, str | None]) -> Completion:
    """What a POST /v1/chat/completions asks for; `headers` hold those named above, or None.

    Raises:
        InvalidRequest: names the field.
    """
    chat = parse_chat(body, apart=_APART)
    how = decode_body(_decoder, body)
    options = how.stream_options
    if options is not None and not how.stream:
        raise InvalidRequest("stream_options goes with 'stream': true only", field="stream_options")
    if options is not None and options.include_obfuscation:
        field = "stream_options.include_obfuscation"
        raise InvalidRequest(f"{field} is not supported: leave it out or false", field=field)
    return Completion(
        chat=chat,
        job_class=_job_class(how.service_tier, headers[CLASS_HEADER]),
        on_disconnect=_on_disconnect(headers[ON_DISCONNECT_HEADER]),
        stream=bool(how.stream),
        include_usage=options is not None and bool(options.include_usage),
        idempotency_key=_idempotency_key(headers[IDEMPOTENCY_HEADER]),
        retry_count=_retry_count(headers[RETRY_COUNT_HEADER]),
    )


def _job_class(tier: str | None, asked: str | None) -> JobClass:
    if tier not in _TIERS:
        raise InvalidRequest(
            "service_tier must be auto, default or flex (which means class batch)",
            field="service_tier",
        )
    if asked is None:
        return _TIERS[tier]
    try:
        job_class = JobClass(asked)
    except ValueError:
        raise InvalidRequest(
            f"{CLASS_HEADER} must be interactive or batch", field=CLASS_HEADER
        ) from None
    if tier == "flex" and job_class is not JobClass.BATCH:
        raise InvalidRequest(
            f"service_tier and the header {CLASS_HEADER} differ", field="service_tier"
        )
    return job_class


def _on_disconnect(asked: str | None) -> OnDisconnect:
    if asked not in _POLICIES:
        raise InvalidRequest(
            f"{ON_DISCONNECT_HEADER} must be cancel or detach", field=ON_DISCONNECT_HEADER
        )
    return _POLICIES[asked]


def _idempotency_key(given: str | None) -> str:
    if given == "":
        raise InvalidRequest(f"{IDEMPOTENCY_HEADER} is empty", field=IDEMPOTENCY_HEADER)
    return given or ""


def _retry_count(given: str | None) -> int | None:
    # A client's own number; one that is no number says nothing.
    if given is None or not (given.isascii() and given.isdigit() and len(given) < 4):
        return None
    return int(given)
