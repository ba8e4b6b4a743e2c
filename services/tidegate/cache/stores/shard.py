"""One folder of Qdrant's embedded engine; the only module that knows it.

It runs in the keeper's and the groomer's processes, for the engine keeps Python's lock.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FacetRequest,
    FieldCondition,
    Filter,
    HasIdCondition,
    HnswIndexConfig,
    IntegerIndexParams,
    KeywordIndexParams,
    MatchValue,
    OrderBy,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    ScrollRequest,
    SearchParams,
    UpdateOperation,
)

from tidegate.cache.stores.payload import (
    CREATED,
    EXPIRES,
    JOB,
    MODEL,
    SCOPE,
    TENANT,
    VECTOR,
    Payload,
)

# No graph over all points (m=0) and one for each scope (payload_m): every search names its scope.
# With one over all, a search in one scope of ten found the nearest in 29 of 100 cases, or in all by
# ACORN in five times the time; with these it does in all (16,000 entries in clusters).
_LINKS: Final = 16
_CANDIDATES_BUILDING: Final = 64
# Half as many miss the nearest in 2 of 100 searches, in a folder of 90,000 that has grown by parts.
_CANDIDATES: Final = 32
# Scopes smaller than this many KB of vectors (650 of 384 numbers) are compared one by one.
_SCANNED_KB: Final = 1_000
# A groomed folder is one segment, however large, rebuilt when a tenth of it is gone.
_ONE_SEGMENT_KB: Final = 4_000_000
_DELETED_SHARE: Final = 0.1
_VACUUMED_FROM: Final = 100

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Hit:
    """A point near a vector."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A point as it is kept."""

    id: str
    payload: Payload
    vector: list[float] | None


Near = QueryRequest
"""A question for the nearest points, the same for every folder."""


def near(
    vector: list[float], scope: str, now_ms: int, limit: int, without: Collection[str] = ()
) -> Near:
    """Asks for the nearest points of a scope that have not expired, without some ids."""
    others: list[Any] | None = [HasIdCondition(set(without))] if without else None
    return QueryRequest(
        limit=limit,
        query=Query.Nearest(vector, using=VECTOR),
        filter=Filter(must=[_is(SCOPE, scope), _between(EXPIRES, above=now_ms)], must_not=others),
        params=SearchParams(hnsw_ef=max(_CANDIDATES, 2 * limit)),
        with_payload=False,
    )


class Shard:
    """A folder of points. Its methods raise what the engine raises, which is Exception."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = path
        self._dimension = dimension
        path.mkdir(parents=True, exist_ok=True)
        # Whoever made it may have been killed over it.
        open_it = EdgeShard.load if (path / "segments").exists() else EdgeShard.create
        self._engine = open_it(str(path), _config(dimension))
        self._make_indexes()

    @property
    def size(self) -> int:
        """Points in it."""
        return self._engine.info().points_count

    def put(self, entry_id: str, payload: Payload, vector: Sequence[float] | None) -> None:
        """Keeps a point, in place of one of the same id."""
        vectors: dict[str, Any] = {} if vector is None else {VECTOR: vector}
        point = Point(entry_id, vectors, payload)
        self._engine.update(UpdateOperation.upsert_points([point]))

    def nearest(self, wanted: Near) -> list[Hit]:
        """The points that `near` asks for."""
        return [Hit(str(point.id), point.score) for point in self._engine.query(wanted)]

    def payloads(self, ids: Sequence[str]) -> dict[str, Payload]:
        """What is kept under ids, by those that are there."""
        found = self._engine.retrieve(list(ids), True, False)
        return {str(point.id): point.payload for point in found if point.payload}

    def has(self, entry_id: str) -> bool:
        """Whether anything is kept under an id."""
        return bool(self._engine.retrieve([entry_id], False, False))

    def delete(self, ids: Sequence[str]) -> None:
        """Removes points; those that are not there are none of them."""
        if ids:
            self._engine.update(UpdateOperation.delete_points(list(ids)))

    def count(self, tenant: str) -> int:
        """Points of a tenant."""
        return self._engine.count(CountRequest(filter=Filter(must=[_is(TENANT, tenant)])))

    def selected(
        self,
        tenant: str,
        *,
        entry_id: str | None,
        job_id: str | None,
        model: str | None,
        before_ms: int | None,
    ) -> list[str]:
        """The ids of a tenant's points that match all that is not None."""
        conditions: list[Any] = [_is(TENANT, tenant)]
        if entry_id is not None:
            conditions.append(HasIdCondition({entry_id}))
        if job_id is not None:
            conditions.append(_is(JOB, job_id))
        if model is not None:
            conditions.append(_is(MODEL, model))
        if before_ms is not None:
            conditions.append(_between(CREATED, below=before_ms))
        wanted = Filter(must=conditions)
        found, _ = self._engine.scroll(
            ScrollRequest(limit=self.size + 1, filter=wanted, with_payload=False)
        )
        return [str(point.id) for point in found]

    def expired(self, now_ms: int, limit: int) -> list[str]:
        """The ids of points that have expired, at most `limit`."""
        past = Filter(must=[_between(EXPIRES, up_to=now_ms)])
        found, _ = self._engine.scroll(ScrollRequest(limit=limit, filter=past, with_payload=False))
        return [str(point.id) for point in found]

    def largest_tenants(self, limit: int) -> dict[str, int]:
        """The tenants with most points, at most `limit`, and how many they have."""
        found = self._engine.facet(FacetRequest(TENANT, limit, exact=True))
        return {str(hit.value): hit.count for hit in found.hits}

    def oldest(self, limit: int, tenant: str | None) -> list[tuple[int, str]]:
        """When the oldest points of a tenant, or of all, were created, and their ids."""
        of = None if tenant is None else Filter(must=[_is(TENANT, tenant)])
        found, _ = self._engine.scroll(
            ScrollRequest(limit=limit, filter=of, order_by=OrderBy(CREATED), with_payload=[CREATED])
        )
        return [(int((point.payload or {})[CREATED]), str(point.id)) for point in found]

    def everything(self, *, vectors: bool = True) -> Iterator[Kept]:
        """All points, page by page; nothing must be written meanwhile."""
        offset: Any = None
        while True:
            found, offset = self._engine.scroll(
                ScrollRequest(limit=_PAGE, offset=offset, with_payload=True, with_vector=vectors)
            )
            for point in found:
                named: Any = point.vector or {}
                yield Kept(str(point.id), point.payload or {}, named.get(VECTOR))
            if offset is None:
                return

    def read_all(self) -> int:
        """Reads all that there is, to find out whether it can be read; how many points."""
        read = sum(1 for _ in self.everything(vectors=False))
        compared = QueryRequest(
            limit=1,
            query=Query.Nearest([1.0] * self._dimension, using=VECTOR),
            params=SearchParams(exact=True),
        )
        self._engine.query(compared)
        return read

    def optimize(self) -> None:
        """Makes the graphs that searches use; takes a third of a millisecond for each new point."""
        self._engine.optimize()

    def close(self) -> None:
        """Writes all to the disk, and lets go of the folder."""
        self._engine.close()

    def _make_indexes(self) -> None:
        graph, plain = KeywordIndexParams(), KeywordIndexParams(enable_hnsw=False)
        times = IntegerIndexParams(lookup=False, range=True, enable_hnsw=False)
        fields: dict[str, KeywordIndexParams | IntegerIndexParams] = {
            SCOPE: graph,
            TENANT: plain,
            MODEL: plain,
            JOB: plain,
            CREATED: times,
            EXPIRES: times,
        }
        for field in fields.keys() - self._engine.info().payload_schema.keys():
            self._engine.update(UpdateOperation.create_field_index(field, fields[field]))


def _config(dimension: int) -> EdgeConfig:
    return EdgeConfig(
        vectors={VECTOR: EdgeVectorParams(size=dimension, distance=Distance.Cosine)},
        hnsw_config=HnswIndexConfig(
            m=0,
            payload_m=_LINKS,
            ef_construct=_CANDIDATES_BUILDING,
            full_scan_threshold=_SCANNED_KB,
            max_indexing_threads=1,
        ),
        optimizers=EdgeOptimizersConfig(
            deleted_threshold=_DELETED_SHARE,
            vacuum_min_vector_number=_VACUUMED_FROM,
            default_segment_number=1,
            max_segment_size=_ONE_SEGMENT_KB,
            indexing_threshold=1,
        ),
        # Of the machine's cores the keeper takes one.
        max_search_threads=1,
    )


def _is(field: str, value: str) -> FieldCondition:
    return FieldCondition(field, match=MatchValue(value))


def _between(
    field: str,
    *,
    above: int | None = None,
    below: int | None = None,
    up_to: int | None = None,
) -> FieldCondition:
    return FieldCondition(field, range=RangeFloat(gt=above, lt=below, lte=up_to))
