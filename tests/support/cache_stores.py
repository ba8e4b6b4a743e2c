"""Stores of the cache for tests, with the same entries for each, and vectors of known cosines."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tidegate.cache.entries import Entry, Vector
from tidegate.cache.parts import StoreComponent
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space, collection_name
from tidegate.cache.stores.qdrant import QdrantStore
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard

NOW = 1_700_000_000_000
HOUR = 3_600_000
DIMENSION = 8

SERVER_URL = os.environ.get("TIDEGATE_TEST_QDRANT_URL")
"""A Qdrant server that tests may make collections on, and remove them from."""


_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2**30


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is room, else on the disk: the engine waits for it often.

    What a kill of processes leaves is the same in both.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    within = _MEMORY if has_room and os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tidegate-", dir=within) as folder:
        yield Path(folder)


def clock() -> float:
    """Seconds at NOW."""
    return NOW / 1000


def entry(number: int, **fields: object) -> Entry:
    """An entry with a number; `fields` as they are to be."""
    made = Entry(
        id=str(uuid.UUID(int=number)),
        key=f"{number:064x}",
        tenant="acme",
        scope="scope-1",
        model="fast",
        job_id=f"job_{number}",
        question=f"How many is {number}?",
        text=f"It is {number}.",
        finish_reason="stop",
        upstream_model="sim-1",
        created_ms=NOW + number,
        expires_ms=NOW + HOUR,
        input_tokens=7,
        output_tokens=11,
        cost_nano_usd=1_000 + number,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def vector(cosine: float, axis: int = 1) -> Vector:
    """A vector with this cosine to `vector(1)`, turned from it towards an axis."""
    made = np.zeros(DIMENSION, dtype=np.float32)
    made[0] = cosine
    made[axis] += np.sqrt(max(0.0, 1.0 - cosine * cosine))
    return made


def drawn_vector(draw: np.random.Generator, dimension: int = DIMENSION) -> Vector:
    """A vector of unit length in any direction."""
    made = draw.standard_normal(dimension).astype(np.float32)
    unit: Vector = made / np.linalg.norm(made)
    return unit


@contextlib.asynccontextmanager
async def running(store: StoreComponent, guard: TaskGuard) -> AsyncIterator[None]:
    """The store from its start to its end; no task of it may have failed."""
    try:
        await store.start()
        yield
    finally:
        await store.stop(Deadline(10))
        await guard.cancel_all()
    assert guard.fault is None


@contextlib.asynccontextmanager
async def embedded_store(
    directory: Path, dimension: int = DIMENSION, **options: object
) -> AsyncIterator[EmbeddedStore]:
    """An embedded store in a folder, whose clock stands at NOW; `options` of its constructor."""
    guard = TaskGuard()
    options = {"clock": clock, **options}
    space = Space("test-1", dimension)
    store = EmbeddedStore(directory, lambda: space, guard, **options)  # type: ignore[arg-type]
    async with running(store, guard):
        yield store


@contextlib.asynccontextmanager
async def qdrant_store(location: str) -> AsyncIterator[QdrantStore]:
    """A store on a server, in a collection of its own."""
    guard = TaskGuard()
    space = Space(f"test-{uuid.uuid4().hex[:12]}", DIMENSION)
    store = QdrantStore(location, lambda: space, guard, call_seconds=10.0, clock=clock)
    async with running(store, guard):
        try:
            yield store
        finally:
            await drop_collection(location, collection_name(space))


async def drop_collection(location: str, name: str) -> None:
    """Removes a test's collection from a server."""
    if location == ":memory:":
        return
    from qdrant_client import AsyncQdrantClient

    client = AsyncQdrantClient(location=location, check_compatibility=False)
    await client.delete_collection(name)
    await client.close()
