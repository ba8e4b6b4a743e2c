"""The body of a create: `POST /v1/jobs`, and with a `ref` the frame `create` of a socket.

Only its form is checked here. What a deployment allows, the gateway decides: the bounds of the time
to live, the models, what happens on a disconnect.
"""

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tidegate.contracts.chat import FIELDS
from tidegate.contracts.errors import InvalidRequest, Reason
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.json_body import decode_body, require_unique_keys

# What a caller of gRPC may send along to be told of fields by their names in JSON, as the service
# does that passes creates of sockets on.
FIELD_NAMES_KEY: Final = "x-tidegate-field-names"


class CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for; `request` is a Chat Completions body, not looked into yet."""

    request: msgspec.Raw
    # Empty is a client's variable that was not set, not a wish to go without.
    request_id: Annotated[str, Meta(min_length=1)] | None = None
    job_class: JobClass | None = msgspec.field(default=None, name="class")
    # Bounded by what every surface can carry; the gateway's own bounds are narrower.
    ttl_s: Annotated[float, Meta(gt=0, le=10**9)] | None = None
    on_disconnect: Literal["detach", "cancel"] | None = None


class FieldNames(NamedTuple):
    """How a surface calls the fields whose names differ; errors name them so."""

    request: str
    ttl: str


JSON_NAMES: Final = FieldNames(request="request", ttl="ttl_s")

_decoder = msgspec.json.Decoder(CreateBody)


def parse_create(body: bytes) -> CreateBody:
    """The create of a body.

    Raises:
        InvalidRequest: names the field.
    """
    try:
        create = decode_body(_decoder, body)
    except InvalidRequest as error:
        if error.reason is Reason.UNSUPPORTED_FIELD and error.field in FIELDS:
            raise InvalidRequest(
                f"the field {error.field} is not known here; a Chat Completions body goes under "
                f"{JSON_NAMES.request!r}",
                reason=error.reason,
                field=error.field,
            ) from error
        raise
    require_unique_keys(body)
    return create
