"""A Qdrant server as the store, shared by several caches; the only module that knows its client.

Made for 10 million entries of 384 numbers, on Qdrant 1.17 or newer (`enable_hnsw`). The settings
below and why, with their memory:

- Each scope has a graph of its own, and there is none over all (`m=0`, `payload_m`), as Qdrant
  advises for tenants in one collection: https://qdrant.tech/documentation/manage-data/multitenancy/
  Every search names its scope, so no link that leads out of it is ever of use; and with one graph
  over all, filters that few points pass leave few ways to the nearest (`stores.shard` measured it).
- Vectors lie on the disk, mapped: 10 M x 384 x 4 B = 15.4 GB. In memory are their int8 copies,
  10 M x 388 B = 3.9 GB, which searches walk by; the nearest are then compared again by the vectors
  themselves (`rescore`, of twice as many), so that scores are exact, as thresholds need them.
- Links: at most 2 x 16 x 4 B a point on the lowest level and about a tenth more above, 1.4 GB.
- Indexes of payload, at 8 to 16 B a point and field: 0.6 GB. Ids of jobs are as many as entries and
  looked for only to remove them, so theirs stays on the disk. Ids and versions of points: 0.5 GB.

Together 6.4 GB, and 8 to 10 GB with what is being rebuilt at the time; all in memory it would be
10 M x 384 x 4 B x 1.5 = 23 GB by Qdrant's own rule of thumb
(https://qdrant.tech/documentation/capacity-planning/). Disk: 21 GB for the above, the answers
(2 KB each: 20 GB before compression), and room to rebuild a segment: 60 GB.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import structlog
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tidegate.cache.entries import Entry, Scored, Selection, StoreError, Vector, is_entry_id
from tidegate.cache.stores.payload import (
    CREATED,
    EXPIRES,
    JOB,
    MODEL,
    SCOPE,
    TENANT,
    VECTOR,
    Space,
    checked_text,
    checked_vector,
    collection_name,
    entry_of,
    payload_of,
    scope_value,
    vector_size,
)
from tidegate.cache.stores.reading import Reading
from tidegate.chassis.backoff import Backoff
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault, TaskGuard

_log = structlog.stdlib.get_logger(module=__name__)

SCOPE_LINKS: Final = 16
"""Links of a point within its scope's graph (`payload_m`); twice as many on the lowest level."""

CANDIDATES_BUILDING: Final = 100
"""Points that are looked at to choose those links from (`ef_construct`)."""

CANDIDATES: Final = 64
"""Points that a search keeps in view (`hnsw_ef`)."""

OVERSAMPLING: Final = 2.0
"""How many times as many as are wanted are compared again by the vectors themselves."""

SCANNED_KB: Final = 1_000
"""Scopes with less of vectors than this, in a segment, have no graph: 650 of 384 numbers."""

# Between looks at a collection that cannot be made; afterwards it is looked at with each sweep.
_MAKING: Final = Backoff(1.0, 30.0)
_SLOW_SECONDS: Final = 30.0
_CONFLICT: Final = 409

_PLAIN: Final = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False)
_TIME: Final = models.IntegerIndexParams(
    type=models.IntegerIndexType.INTEGER, lookup=False, range=True, enable_hnsw=False
)
_INDEXES: Final[dict[str, models.PayloadSchemaType | models.PayloadSchemaParams]] = {
    # It begins with the tenant: points of one scope lie together on the disk, and of one tenant.
    SCOPE: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    TENANT: _PLAIN,
    MODEL: _PLAIN,
    JOB: models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, enable_hnsw=False, on_disk=True
    ),
    CREATED: _TIME,
    EXPIRES: _TIME,
}


class QdrantStore:
    """A component, and a `Store`.

    `location` is a URL, or `:memory:` for the client's own toy server. `space` is asked once when
    the store starts. Each call has `call_seconds`; what has expired is removed about every
    `sweep_seconds`, by whichever of the caches comes first.
    """

    name = "cache-store"
    kind = "qdrant"

    def __init__(
        self,
        location: str,
        space: Callable[[], Space],
        guard: TaskGuard,
        *,
        api_key_file: Path | None = None,
        call_seconds: float = 2.0,
        sweep_seconds: float = 300.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._location = location
        self._ask_space = space
        self._guard = guard
        self._api_key_file = api_key_file
        self._call_seconds = call_seconds
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._space = Space("", 0)
        self._reading = Reading()
        self._collection = ""
        self._client: AsyncQdrantClient | None = None
        self._upkeep: asyncio.Task[object] | None = None

    async def start(self) -> None:
        """Makes the collection where it is missing, later if the server does not answer now.

        Raises ServiceFault if the key cannot be read, or the location is none.
        """
        self._space = self._ask_space()
        self._collection = collection_name(self._space)
        try:
            self._client = await asyncio.to_thread(self._make_client)
        except (OSError, ValueError) as error:
            raise ServiceFault(self.name, f"no client for Qdrant: {error}") from error
        try:
            await self.make_collection()
        except StoreError as error:
            _log.warning("the cache's store is away, trying again", reason=str(error))
        self._upkeep = self._guard.spawn_eternal("cache-store-upkeep", self._keep_up())

    async def stop(self, deadline: Deadline) -> None:
        """Closes the connections."""
        del deadline  # nothing to wait for
        if self._upkeep is not None:
            self._upkeep.cancel()
        if self._client is not None:
            await self._client.close()

    async def get(self, tenant: str, entry_id: str, now_ms: int) -> Entry | None:
        """As `Store` has it."""
        if not is_entry_id(entry_id):
            return None
        async with self._calling("get") as client:
            found = await client.retrieve(self._collection, [entry_id], with_payload=True)
        if not found:
            return None
        entry = entry_of(entry_id, found[0].payload or {})
        return entry if entry.tenant == tenant and entry.expires_ms > now_ms else None

    async def search(
        self, vector: Vector, *, tenant: str, scope: str, now_ms: int, limit: int
    ) -> list[Scored]:
        """As `Store` has it."""
        asked = checked_vector(vector, self._space).tolist()
        in_scope = _is(SCOPE, scope_value(tenant, scope))
        alive = _between(EXPIRES, above=now_ms)
        async with self._calling("search") as client:
            found = await client.query_points(
                self._collection,
                query=asked,
                using=VECTOR,
                query_filter=models.Filter(must=[in_scope, alive]),
                search_params=models.SearchParams(
                    hnsw_ef=max(CANDIDATES, 2 * limit),
                    quantization=models.QuantizationSearchParams(
                        rescore=True, oversampling=OVERSAMPLING
                    ),
                ),
                limit=limit,
                with_payload=True,
            )
        points = [(str(point.id), point.score, point.payload or {}) for point in found.points]
        return [
            each
            for each in self._reading.scored(points)
            if (each.entry.tenant, each.entry.scope) == (tenant, scope)
            and each.entry.expires_ms > now_ms
        ]

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        """As `Store` has it."""
        named = {} if vector is None else {VECTOR: checked_vector(vector, self._space).tolist()}
        point = models.PointStruct(id=entry.id, vector=named, payload=payload_of(entry))
        async with self._calling("put") as client:
            await client.upsert(self._collection, [point], wait=True)

    async def remove(self, selection: Selection) -> int:
        """As `Store` has it."""
        if selection.entry_id is not None and not is_entry_id(selection.entry_id):
            return 0
        wanted = _selected(selection)
        async with self._calling("remove", _SLOW_SECONDS) as client:
            found = await client.count(self._collection, count_filter=wanted, exact=True)
            selector = models.FilterSelector(filter=wanted)
            await client.delete(self._collection, selector, wait=True)
        return found.count

    async def count(self, tenant: str | None = None) -> int:
        """As `Store` has it."""
        of = None if tenant is None else models.Filter(must=[_is(TENANT, tenant)])
        async with self._calling("count") as client:
            found = await client.count(self._collection, count_filter=of, exact=True)
        return found.count

    async def sweep(self) -> None:
        """Removes what has expired. Raises StoreError."""
        past = models.Filter(must=[_between(EXPIRES, up_to=int(self._clock() * 1000))])
        async with self._calling("sweep", _SLOW_SECONDS) as client:
            selector = models.FilterSelector(filter=past)
            await client.delete(self._collection, selector, wait=False)

    async def make_collection(self) -> None:
        """Makes the collection and its indexes, whoever else does the same. Raises StoreError."""
        async with self._calling("make the collection", _SLOW_SECONDS) as client:
            if not await client.collection_exists(self._collection):
                await self._create(client)
            for field, schema in _INDEXES.items():
                await client.create_payload_index(self._collection, field, schema, wait=True)

    async def _create(self, client: AsyncQdrantClient) -> None:
        vector = models.VectorParams(
            size=vector_size(self._space), distance=models.Distance.COSINE, on_disk=True
        )
        int8 = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=True
        )
        try:
            await client.create_collection(
                self._collection,
                vectors_config={VECTOR: vector},
                hnsw_config=models.HnswConfigDiff(
                    m=0,
                    payload_m=SCOPE_LINKS,
                    ef_construct=CANDIDATES_BUILDING,
                    full_scan_threshold=SCANNED_KB,
                ),
                quantization_config=models.ScalarQuantization(scalar=int8),
                on_disk_payload=True,
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:
                raise
        except ValueError:
            # What the client's own server says to the same.
            if not await client.collection_exists(self._collection):
                raise

    async def _keep_up(self) -> None:
        tries = 0
        while True:
            try:
                await self.make_collection()
                await self.sweep()
                tries = 0
                # Caches that were started together do not sweep together.
                await asyncio.sleep(self._sweep_seconds * random.uniform(0.5, 1.5))
            except StoreError as error:
                tries += 1
                _log.warning("the cache's store is not kept up", reason=str(error))
                await _MAKING.pause(tries)

    def _make_client(self) -> AsyncQdrantClient:
        key = self._api_key_file.read_text("utf-8").strip() if self._api_key_file else None
        return AsyncQdrantClient(
            location=self._location,
            api_key=key,
            timeout=math.ceil(_SLOW_SECONDS),
            # It would ask the server from here, and wait for it.
            check_compatibility=False,
        )

    @contextlib.asynccontextmanager
    async def _calling(
        self, what: str, seconds: float | None = None
    ) -> AsyncIterator[AsyncQdrantClient]:
        """The client, whose errors become StoreError: without their texts, which quote requests."""
        if self._client is None:
            raise StoreError("the store is not open")
        limit = self._call_seconds if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                yield self._client
        except TimeoutError:
            raise StoreError(f"Qdrant does not {what} within {limit:g} s") from None
        except Exception as error:
            raise StoreError(f"Qdrant cannot {what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"status {error.status_code}"
    if isinstance(error, ResponseHandlingException):
        return type(error.source).__name__
    return type(error).__name__


def _is(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=checked_text(value)))


def _between(
    field: str, *, above: int | None = None, below: int | None = None, up_to: int | None = None
) -> models.FieldCondition:
    return models.FieldCondition(key=field, range=models.Range(gt=above, lt=below, lte=up_to))


def _selected(selection: Selection) -> models.Filter:
    conditions: list[models.Condition] = [_is(TENANT, selection.tenant)]
    if selection.entry_id is not None:
        conditions.append(models.HasIdCondition(has_id=[selection.entry_id]))
    if selection.job_id is not None:
        conditions.append(_is(JOB, selection.job_id))
    if selection.model is not None:
        conditions.append(_is(MODEL, selection.model))
    if selection.before_ms is not None:
        conditions.append(_between(CREATED, below=selection.before_ms))
    return models.Filter(must=conditions)
