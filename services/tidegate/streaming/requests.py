"""What a client sends over a socket, checked.

Four frames, each a JSON object with its `type`; a field that is not here is refused::

    {"type": "subscribe", "job_id": "job_…", "after_sequence": 0, "snapshot": false}
    {"type": "unsubscribe", "job_id": "job_…"}
    {"type": "create", "ref": "…", "request_id": "…", "class": "interactive", "ttl_s": 600,
     "on_disconnect": "detach", "request": {"model": "…", "messages": […]}}
    {"type": "cancel", "job_id": "job_…"}

A frame without form is BadFrame, and the end of the socket. One whose values cannot be served is a
TidegateError, answered by an error frame.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from tidegate.contracts.create import CreateBody
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.events import UNDECODABLE
from tidegate.contracts.json_body import decode_body

# Integers that every JSON library keeps whole.
LARGEST_SEQUENCE: Final = 2**53 - 1


class BadFrame(Exception):
    """A frame that is no frame of the protocol. The text may be shown to the client."""


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    """Asks for a job's events after a sequence; `snapshot`: the answer so far in their place."""

    job_id: str
    after_sequence: int = 0
    snapshot: bool = False


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unsubscribe"):
    """Ends a subscription."""

    job_id: str


class Cancel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="cancel"):
    """Asks for the end of a job."""

    job_id: str


class Create(CreateBody, frozen=True, forbid_unknown_fields=True, tag="create"):
    """Asks for a job as `POST /v1/jobs` does; `ref` is echoed."""

    ref: Annotated[str, Meta(max_length=128)] | None = None


ClientFrame = Subscribe | Unsubscribe | Cancel | Create


class CreateRefused(Exception):
    """A create whose body has a fault; `problem` says which, `ref` is the client's own."""

    def __init__(self, problem: InvalidRequest, ref: str | None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.ref = ref


class _Envelope(msgspec.Struct):
    type: str


class _Ref(msgspec.Struct):
    ref: Annotated[str, Meta(max_length=128)] | None = None


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_ref_decoder = msgspec.json.Decoder(_Ref)
_create_decoder = msgspec.json.Decoder(Create)
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "subscribe": msgspec.json.Decoder(Subscribe),
    "unsubscribe": msgspec.json.Decoder(Unsubscribe),
    "cancel": msgspec.json.Decoder(Cancel),
}


def parse_frame(data: bytes) -> ClientFrame:
    """The frame that the bytes are.

    Raises:
        BadFrame: none of the protocol.
        CreateRefused: a create whose body has a fault.
    """
    kind = _type_of(data)
    if kind == "create":
        return _parse_create(data)
    decoder = _decoders.get(kind)
    if decoder is None:
        raise BadFrame("unknown frame type")
    try:
        frame: ClientFrame = decoder.decode(data)
    except UNDECODABLE as error:
        raise BadFrame(f"bad {kind} frame") from error
    return frame


def _type_of(data: bytes) -> str:
    try:
        return _envelope_decoder.decode(data).type
    except UNDECODABLE as error:
        raise BadFrame("not a JSON object with a type") from error


def _parse_create(data: bytes) -> Create:
    try:
        return decode_body(_create_decoder, data)
    except InvalidRequest as problem:
        raise CreateRefused(problem, _ref_of(data)) from problem


def _ref_of(data: bytes) -> str | None:
    try:
        return _ref_decoder.decode(data).ref
    except UNDECODABLE:
        return None
