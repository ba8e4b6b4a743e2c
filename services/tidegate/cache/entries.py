"""What the cache keeps, and what every store of it can do."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""A question's embedding: one dimension, unit length."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_entry_id(text: str) -> bool:
    """Whether the text is a UUID in its usual form; nothing else names an entry."""
    return _UUID.fullmatch(text) is not None


class StoreError(Exception):
    """The store does not answer, or cannot do what it was asked; the text quotes no entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer with its question, scope and provenance; times are epoch milliseconds.

    `id` is a UUID in its usual form, derived from `key`, which names the request within `tenant`:
    a later answer to the same request replaces the earlier one. `scope` is what a like question
    must have in common, as a digest. `cost_nano_usd` None: not known. `gist` is what the answer
    says (`cache.gist`); empty: not known.
    """

    id: str
    key: str
    tenant: str
    scope: str
    model: str
    job_id: str
    question: str
    text: str
    finish_reason: str
    upstream_model: str
    created_ms: int
    expires_ms: int
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int | None = None
    gist: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """An entry near a question: `score` is the cosine of both."""

    entry: Entry
    score: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries of a tenant that match all that is not None; `before_ms`: created before it."""

    tenant: str
    entry_id: str | None = None
    job_id: str | None = None
    model: str | None = None
    before_ms: int | None = None


class Store(Protocol):
    """Keeps entries. All methods raise StoreError, and may be called concurrently.

    Tenant, scope and expiry are hard filters: what does not match is never returned.
    """

    @property
    def kind(self) -> str:
        """`embedded` or `qdrant`."""

    async def get(self, tenant: str, entry_id: str, now_ms: int) -> Entry | None:
        """The tenant's entry of an id, unless it has expired."""

    async def search(
        self, vector: Vector, *, tenant: str, scope: str, now_ms: int, limit: int
    ) -> list[Scored]:
        """The nearest entries of a tenant's scope that have not expired, nearest first."""

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        """Keeps an entry, in place of one of the same id; without a vector only `get` finds it."""

    async def remove(self, selection: Selection) -> int:
        """Removes entries; how many there were. Those that have expired may count or not."""

    async def count(self, tenant: str | None = None) -> int:
        """Entries of a tenant, or of all; those that have expired may count or not."""
