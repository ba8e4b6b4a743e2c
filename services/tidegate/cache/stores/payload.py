"""Entries as both stores write them: names, payloads, and what can be kept at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tidegate.cache.entries import Entry, StoreError, Vector, is_entry_id

VECTOR: Final = "question"
"""The vector's name. It has one so that a point may come without: only `get` finds it then."""

# Fields that are filtered by.
TENANT: Final = "tenant"
SCOPE: Final = "scope"
"""Holds tenant and scope in one: a search checks its filter at every point that it passes."""
MODEL: Final = "model"
JOB: Final = "job_id"
CREATED: Final = "created_ms"
EXPIRES: Final = "expires_ms"

_COST: Final = "cost_nano_usd"
_GIST: Final = "gist"
_TEXTS: Final = ("key", MODEL, JOB, "question", "text", "finish_reason", "upstream_model")
_NUMBERS: Final = (CREATED, EXPIRES, "input_tokens", "output_tokens")
# A nano-USD or a millisecond above this would not come back the same from a filter of floats.
_LARGEST: Final = 2**53

Payload = dict[str, Any]
"""An entry as JSON, without its id."""


@dataclass(frozen=True, slots=True)
class Space:
    """Whose vectors are kept: the embedder's fingerprint and dimension; empty and 0: none's."""

    fingerprint: str
    dimension: int


def collection_name(space: Space) -> str:
    """The collection on a server, and the folder of the embedded store.

    It names the embedder, so that vectors of two never meet: another embedder begins anew, and the
    entries of the former are still there for it.
    """
    return f"tidegate-cache-{space.fingerprint or 'exact'}-{space.dimension}"


def vector_size(space: Space) -> int:
    """What the engines are told: they know no vector of 0 numbers."""
    return max(space.dimension, 1)


def scope_value(tenant: str, scope: str) -> str:
    """What `SCOPE` holds."""
    return f"{tenant}/{scope}"


def payload_of(entry: Entry) -> Payload:
    """The entry as JSON.

    Raises:
        StoreError: it cannot be kept as it is.
    """
    if not is_entry_id(entry.id):
        raise StoreError("an entry's id is no UUID in its usual form")
    payload: Payload = {name: getattr(entry, name) for name in (*_TEXTS, *_NUMBERS)}
    payload[TENANT] = entry.tenant
    payload[SCOPE] = scope_value(entry.tenant, entry.scope)
    if entry.gist:
        payload[_GIST] = entry.gist
    if entry.cost_nano_usd is not None:
        payload[_COST] = entry.cost_nano_usd
    for value in payload.values():
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise StoreError("a number of an entry is too large to be kept")
        if isinstance(value, str):
            checked_text(value)
    return payload


def entry_of(entry_id: str, payload: Mapping[str, Any]) -> Entry:
    """The entry that was written so.

    Raises:
        StoreError: it was not written by this store, or by a later one.
    """
    try:
        tenant, scope = str(payload[TENANT]), str(payload[SCOPE])
        texts = {name: str(payload[name]) for name in _TEXTS}
        numbers = {name: int(payload[name]) for name in _NUMBERS}
        cost = payload.get(_COST)
        return Entry(
            id=entry_id,
            gist=str(payload.get(_GIST, "")),
            tenant=tenant,
            scope=scope.removeprefix(scope_value(tenant, "")),
            cost_nano_usd=None if cost is None else int(cost),
            **texts,  # type: ignore[arg-type]  # the names above are the fields
            **numbers,  # type: ignore[arg-type]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"a stored entry lacks {type(error).__name__}") from None


def checked_text(text: str) -> str:
    """The text, which can be written.

    Raises:
        StoreError: it has half of a surrogate pair, which UTF-8 has no form for. An answer that
            could not be given back as it was is better not kept.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StoreError("a text is not valid Unicode") from None
    return text


def checked_vector(vector: Vector, space: Space) -> Vector:
    """The vector, which can be compared with others of the space.

    Raises:
        StoreError: another dimension, a number that is none, or no direction.
    """
    if vector.shape != (space.dimension,):
        raise StoreError(f"a vector of shape {vector.shape}, not ({space.dimension},)")
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise StoreError("a vector without length")
    return np.asarray(vector, dtype=np.float32)
