"""The folders of an embedded store, as its keeper sees them: searched as if they were one.

New entries go into the head, which has no search index. What it holds is taken over by a settled
folder now and then, which the groomer makes beside; meanwhile the old ones go on answering:

1. `freeze`: another head begins; `sources` are now the old one and a settled folder to be extended.
   The groomer copies them. Nothing may write into them, so what is superseded waits.
2. `copied`: they can be written again. What is removed from them is noted.
3. `adopt`: what was noted is removed from the groomer's folder too, which now stands for them; or
   `abandon`: all stays as it was.

An entry may be there twice for a while, and after a crash for longer: the later one counts.
"""

import heapq
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tidegate.cache.stores.payload import CREATED, Payload
from tidegate.cache.stores.shard import Hit, Shard, near

FINISHED: Final = "finished"
"""A file in each settled folder, with the names of those that it was made of, a line each. Settled
folders without it lack removals, and count for nothing."""


# So many settled folders are borne with when none of them is small.
_FEW: Final = 2


# A tenant with less than one of so many shares of all entries crowds nobody out.
_SMALL_SHARES: Final = 50
# So many tenants of each folder are counted: more cannot have such a share of it.
_COUNTED: Final = 2 * _SMALL_SHARES
_STEPS: Final = 4


def chosen(settled: Mapping[str, int], incoming: int, small: int, large: int) -> list[str]:
    """Which settled folders take in so many new entries, the largest first; none: another begins.

    Each folder costs every search something, and grooming a large one takes long. So new entries
    go into a small one, and when that is full it goes into a large one with what else has room.
    """
    by_size = sorted(settled, key=lambda name: (settled[name], name))
    is_small = bool(by_size) and settled[by_size[0]] <= small
    if is_small and settled[by_size[0]] + incoming <= small:
        return by_size[:1]
    if not is_small and len(by_size) < _FEW:
        return []
    taken: list[str] = []
    for name in by_size:
        if incoming + settled[name] <= large:
            incoming += settled[name]
            taken.insert(0, name)
    return taken


def crowding(entries: Mapping[str, int], limit: int) -> tuple[str | None, int]:
    """Which tenant makes room, and how many of its oldest entries, at most `limit`.

    It is the one with most, down to the next one's number: nobody empties the cache of all others
    by asking much. None: all are small, and the oldest of all go.
    """
    most = heapq.nlargest(2, entries.items(), key=lambda each: (each[1], each[0]))
    if not most or most[0][1] * _SMALL_SHARES < sum(entries.values()):
        return None, limit
    lead = most[0][1] - most[1][1] if len(most) > 1 else limit
    # Among equals too it is not one by one, for each time all are counted.
    return most[0][0], min(limit, max(lead, limit // _STEPS, 1))


class Shards:
    """Folders of entries below `path`. Methods raise what the engine raises."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._dimension = dimension
        self._shards: dict[str, Shard] = {}
        self._head = ""
        self._head_puts = 0
        self._sources: set[str] = set()
        self._are_copied = True
        self._removed: set[str] = set()

    def open(self, name: str) -> int:
        """Opens a folder and reads all of it; how many entries it has."""
        shard = Shard(self._path / name, self._dimension)
        read = shard.read_all()
        self._shards[name] = shard
        return read

    def begin(self, name: str) -> None:
        """Makes a folder the head, a new one if it is not open."""
        if name not in self._shards:
            self._shards[name] = Shard(self._path / name, self._dimension)
        self._head = name
        self._head_puts = self._shards[name].size

    def put(self, entry_id: str, payload: Payload, vector: list[float] | None) -> tuple[int, int]:
        """Keeps an entry; how many went into the head, and how many there are."""
        self._shards[self._head].put(entry_id, payload, vector)
        self._head_puts += 1
        for name, shard in self._shards.items():
            if name != self._head and shard.has(entry_id):
                self._delete(name, [entry_id])
        return self._head_puts, self.count(None)

    def get(self, entry_id: str) -> Payload | None:
        """What is kept under an id."""
        return self._payloads([entry_id]).get(entry_id)

    def search(
        self, vector: list[float], scope: str, now_ms: int, limit: int
    ) -> list[tuple[str, float, Payload]]:
        """Ids, scores and payloads of the nearest of a scope that have not expired."""
        best: dict[str, Hit] = {}
        wanted = near(vector, scope, now_ms, limit)
        superseded = set() if self._are_copied else self._removed
        of_source = near(vector, scope, now_ms, limit, without=superseded)
        for name, shard in self._shards.items():
            for hit in shard.nearest(of_source if name in self._sources else wanted):
                if hit.id not in best or hit.score > best[hit.id].score:
                    best[hit.id] = hit
        nearest = heapq.nsmallest(limit, best.values(), key=lambda hit: (-hit.score, hit.id))
        kept = self._payloads([hit.id for hit in nearest])
        return [(hit.id, hit.score, kept[hit.id]) for hit in nearest if hit.id in kept]

    def remove(self, tenant: str, **selection: Any) -> int:
        """Removes a tenant's entries that match; how many there were. Not before `copied`."""
        self._thaw()
        removed: set[str] = set()
        for name, shard in self._shards.items():
            ids = shard.selected(tenant, **selection)
            self._delete(name, ids)
            removed.update(ids)
        return len(removed)

    def count(self, tenant: str | None) -> int:
        """Entries of a tenant, or of all."""
        if tenant is None:
            return sum(shard.size for shard in self._shards.values())
        return sum(shard.count(tenant) for shard in self._shards.values())

    def sweep(self, now_ms: int, limit: int) -> int:
        """Removes at most `limit` entries that have expired; how many. Not before `copied`."""
        self._thaw()
        removed = 0
        for name, shard in self._shards.items():
            ids = shard.expired(now_ms, limit - removed) if removed < limit else []
            self._delete(name, ids)
            removed += len(ids)
        return removed

    def evict(self, limit: int) -> int:
        """Removes the oldest entries of whom `crowding` names, at most `limit`; how many.

        Not before `copied`. 0 only where nothing is left.
        """
        self._thaw()
        tenant, limit = crowding(self._tenants(), limit)
        ages = [
            [(created, entry_id, name) for created, entry_id in shard.oldest(limit, tenant)]
            for name, shard in self._shards.items()
        ]
        oldest = heapq.nsmallest(limit, (each for ages_of in ages for each in ages_of))
        for name in self._shards:
            self._delete(name, [entry_id for _, entry_id, of in oldest if of == name])
        return len(oldest)

    def _payloads(self, ids: list[str]) -> dict[str, Payload]:
        """What is kept under ids; the latest where an id is there twice."""
        kept: dict[str, Payload] = {}
        for shard in self._shards.values() if ids else ():
            for entry_id, payload in shard.payloads(ids).items():
                if entry_id not in kept or payload[CREATED] > kept[entry_id][CREATED]:
                    kept[entry_id] = payload
        return kept

    def _tenants(self) -> Counter[str]:
        """The tenants with most entries of each folder, and how many they have there."""
        entries: Counter[str] = Counter()
        for shard in self._shards.values():
            entries.update(shard.largest_tenants(_COUNTED))
        return entries

    def freeze(self, head: str, small: int, large: int) -> list[str]:
        """Begins another head; the folders to be groomed, the one to be extended first.

        `small` and `large` are entries, as `chosen` has them.
        """
        former = [name for name in self._shards if name.startswith("head-")]
        # Where the groomer before has failed and nobody could say so.
        self.abandon()
        self.begin(head)
        sizes = {name: shard.size for name, shard in self._shards.items()}
        incoming = sum(sizes[name] for name in former)
        settled = {name: sizes[name] for name in sizes.keys() - {*former, head}}
        sources = [*chosen(settled, incoming, small, large), *former]
        self._sources, self._are_copied = set(sources), False
        return sources

    def copied(self) -> None:
        """The groomer has its copies."""
        self._are_copied = True
        for name in self._sources & self._shards.keys():
            self._shards[name].delete(list(self._removed))

    def adopt(self, name: str) -> list[str]:
        """Takes the groomer's folder in place of its sources; these, closed."""
        shard = Shard(self._path / name, self._dimension)
        shard.delete(list(self._removed))
        _write_whole(self._path / name / FINISHED, "\n".join(sorted(self._sources)))
        self._shards[name] = shard
        return self._let_go(self._sources)

    def abandon(self) -> None:
        """The groomer has failed: its sources stay."""
        self.copied()
        self._sources, self._removed = set(), set()

    def empty(self) -> list[str]:
        """Folders without entries, closed."""
        return self._let_go(
            {
                name
                for name, shard in self._shards.items()
                if name != self._head and name not in self._sources and shard.size == 0
            }
        )

    def close(self) -> None:
        """Writes all to the disk."""
        self._let_go(set(self._shards))

    def _thaw(self) -> None:
        """Ends a copy that was given up: `abandon` may not have come through."""
        if not self._are_copied:
            self.abandon()

    def _delete(self, name: str, ids: list[str]) -> None:
        if name in self._sources:
            self._removed.update(ids)
            if not self._are_copied:
                return
        self._shards[name].delete(ids)

    def _let_go(self, names: set[str]) -> list[str]:
        for name in names:
            self._shards.pop(name).close()
        if names >= self._sources:
            self._sources, self._removed = set(), set()
        return sorted(names)


def _write_whole(path: Path, text: str) -> None:
    """So that a power cut leaves all of it or no file of that name."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


Method = Callable[..., Any]


def methods_of(shards: Shards) -> dict[str, Method]:
    """What the keeper can be asked for."""
    return {
        method.__name__: method
        for method in (
            shards.open,
            shards.begin,
            shards.put,
            shards.get,
            shards.search,
            shards.remove,
            shards.count,
            shards.sweep,
            shards.evict,
            shards.freeze,
            shards.copied,
            shards.adopt,
            shards.abandon,
            shards.empty,
        )
    }
