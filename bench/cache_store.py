"""What the cache's embedded store costs: puts, searches, disk and memory.

    python -m bench.cache_store                # 10,000 and 100,000 entries, in 1 and in 50 scopes

Vectors of 384 numbers in 500 clusters, answers of 600 bytes; each search is for a question like one
that is there (a cosine of 0.96), in its scope. `scanned` is before any search index was made,
`groomed` after; `beside` are searches while the indexes were made, by a process that shares the
cores. Puts are 50 at once, and a put's time is its share of them. `nearest` is the share of
searches whose first hit is the nearest entry of all.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench._machine import describe, package_version
from tidegate.cache.entries import Entry, Vector
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space, collection_name
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard

SPACE = Space("bench", 384)
CLUSTERS = 500
AT_ONCE = 50
SEARCHES = 150
NEAREST = 8
NEVER = 10**9
# More than by default, so that fewer groomings make 100,000 entries.
HEAD_ENTRIES = 9_000


@dataclass(frozen=True)
class Data:
    """Entries' vectors, questions near some of them, and which those are."""

    vectors: NDArray[np.float32]
    asked: NDArray[np.float32]
    near: NDArray[np.int64]
    scopes: int

    def entry(self, number: int) -> Entry:
        now = int(time.time() * 1000)
        return Entry(
            id=str(uuid.UUID(int=number)),
            key=f"{number:064x}",
            tenant="bench",
            scope=f"{number % self.scopes:064x}",
            model="fast",
            job_id=f"job_{number}",
            question=f"How do I reset the password of account {number}?",
            text=f"{number}: " + "open the settings, then the account. " * 16,
            finish_reason="stop",
            upstream_model="sim-1",
            created_ms=now,
            expires_ms=now + 86_400_000,
        )

    def nearest(self, asked: int, among: int) -> int:
        """The entry nearest to a question in its scope, by looking at all."""
        numbers = np.arange(self.near[asked] % self.scopes, among, self.scopes)
        return int(numbers[np.argmax(self.vectors[numbers] @ self.asked[asked])])


def drawn(count: int, scopes: int) -> Data:
    draw = np.random.default_rng(7)
    spread = draw.standard_normal((48, SPACE.dimension)).astype(np.float32)
    centres = draw.standard_normal((CLUSTERS, 48)).astype(np.float32)
    inner = centres[draw.integers(0, CLUSTERS, count)]
    inner = inner + 0.7 * draw.standard_normal((count, 48)).astype(np.float32)
    noise = draw.standard_normal((count, SPACE.dimension)).astype(np.float32)
    vectors = unit(inner @ spread + 2 * noise)
    near = draw.integers(0, count, SEARCHES)
    shift = draw.standard_normal((SEARCHES, SPACE.dimension)).astype(np.float32)
    return Data(vectors, unit(vectors[near] + 0.015 * shift), near, scopes)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, dtype=np.float32)


@dataclass
class Row:
    """Milliseconds of one store at one size."""

    name: str
    puts: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    right: float = 0.0
    disk: float = 0.0
    memory: float = 0.0

    def show(self) -> None:
        cells = "".join(f"{pair(times):>15}" for times in (self.puts, self.searches, self.beside))
        print(f"{self.name:>28}{cells}{self.right:>9.3f}{self.disk:>9.0f}{self.memory:>9.0f}")


def pair(times: list[float]) -> str:
    if len(times) < 2:
        return ""
    return f"{statistics.median(times):.2f} / {statistics.quantiles(times, n=20)[-1]:.2f}"


class Bench:
    """One store while it is filled and searched."""

    def __init__(self, store: EmbeddedStore, directory: Path, data: Data) -> None:
        self._store = store
        self._folder = directory / collection_name(SPACE)
        self._data = data
        self._questions: Iterator[int] = itertools.cycle(range(SEARCHES))

    async def put(self, numbers: range) -> list[float]:
        """Puts entries, so many at once; the time of each, waiting for others included."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> float:
            async with slots:
                vector: Vector = self._data.vectors[number]
                began = time.perf_counter()
                await self._store.put(self._data.entry(number), vector)
                return (time.perf_counter() - began) * 1000 / AT_ONCE

        return list(await asyncio.gather(*map(one, numbers)))

    async def search(self) -> tuple[int, float, int | None]:
        """Which question was asked, how many milliseconds it took, and which entry was first."""
        question = next(self._questions)
        scope = f"{self._data.near[question] % self._data.scopes:064x}"
        began = time.perf_counter()
        found = await self._store.search(
            self._data.asked[question],
            tenant="bench",
            scope=scope,
            now_ms=int(time.time() * 1000),
            limit=NEAREST,
        )
        took = (time.perf_counter() - began) * 1000
        return question, took, uuid.UUID(found[0].entry.id).int if found else None

    async def search_until_groomed(self) -> list[float]:
        """Times of searches as long as the groomer works."""
        times: list[float] = []
        while await asyncio.to_thread(self._is_grooming):
            times.append((await self.search())[1])
            await asyncio.sleep(0.005)
        return times

    async def measure(self, row: Row, among: int) -> None:
        """Searches, one after another, and what the store takes."""
        for _ in range(SEARCHES // 3):
            await self.search()
        results = [await self.search() for _ in range(SEARCHES)]
        row.searches = [took for _, took, _ in results]
        right = [first == self._data.nearest(question, among) for question, _, first in results]
        row.right = sum(right) / len(right)
        row.disk = await asyncio.to_thread(self._disk)
        row.memory = await asyncio.to_thread(resident, self._store.keeper_pid or 0)

    def _is_grooming(self) -> bool:
        names = [part.name for part in self._folder.iterdir()]
        return any(name.startswith("making-") for name in names)

    def _disk(self) -> float:
        files = (path.stat() for path in self._folder.rglob("*") if path.is_file())
        return sum(file.st_blocks * 512 for file in files) / 1e6


def resident(pid: int) -> float:
    """MB in memory of the process, what it maps included."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


async def scanned(count: int, scopes: int, data: Data) -> Row:
    row = Row(f"{count:,} in {scopes}, scanned")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        store = EmbeddedStore(
            Path(directory), lambda: SPACE, guard := TaskGuard(), head_entries=NEVER
        )
        await store.open()
        bench = Bench(store, Path(directory), data)
        row.puts = await bench.put(range(count))
        await bench.measure(row, count)
        await store.stop(Deadline(30))
        await guard.cancel_all()
    return row


async def groomed(count: int, scopes: int, data: Data) -> Row:
    row = Row(f"{count:,} in {scopes}, groomed")
    head = min(HEAD_ENTRIES, count // 2)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory:
        store = EmbeddedStore(
            Path(directory), lambda: SPACE, guard := TaskGuard(), head_entries=head
        )
        await store.open()
        bench = Bench(store, Path(directory), data)
        for start in range(0, count, head):
            row.puts += await bench.put(range(start, min(start + head, count)))
            await asyncio.sleep(0.1)
            row.beside += await bench.search_until_groomed()
        await bench.measure(row, count)
        await store.stop(Deadline(30))
        await guard.cancel_all()
    return row


async def measure(options: argparse.Namespace) -> None:
    print(describe())
    print(f"{'engine':>12}: qdrant-edge-py {package_version('qdrant-edge-py')}")
    began = time.monotonic()
    print("\nmilliseconds p50 / p95, MB")
    heads = "".join(f"{head:>15}" for head in ("put", "search", "search beside"))
    print(f"{'entries in scopes':>28}{heads}{'nearest':>9}{'disk':>9}{'memory':>9}")
    for count in options.entries:
        for scopes in options.scopes:
            data = drawn(count, scopes)
            (await scanned(count, scopes, data)).show()
            (await groomed(count, scopes, data)).show()
    print(f"\n{time.monotonic() - began:.0f} s in all")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--scopes", type=int, nargs="+", default=[1, 50])
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
