"""How a request asks not to be cached: `"metadata": {"tidegate_cache": "no-store"}`.

The member counts, whatever its value. It is the platform's, and goes no farther than that.
"""

from typing import Any, Final

import msgspec

MEMBER: Final = "tidegate_cache"

_METADATA: Final = "metadata"
_NEEDLE: Final = MEMBER.encode()


def without_member(request: bytes) -> bytes:
    """A canonical request as a provider gets it; one without the member comes back as it is."""
    if _NEEDLE not in request:
        return request
    body = msgspec.json.decode(request, type=dict[str, msgspec.Raw])
    metadata = msgspec.json.decode(body.get(_METADATA, msgspec.Raw(b"null")))
    if not isinstance(metadata, dict) or MEMBER not in metadata:
        return request
    kept: dict[str, Any] = {name: value for name, value in metadata.items() if name != MEMBER}
    if kept:
        body[_METADATA] = msgspec.Raw(msgspec.json.encode(kept))
    else:
        del body[_METADATA]
    return msgspec.json.encode(body)
