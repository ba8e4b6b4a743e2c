"""The embedded store through restarts, kills, corruption and too many entries.

A user would pay again for every answer that it loses, and be given one that was deleted.
"""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.cache_stores import (
    DIMENSION,
    HOUR,
    NOW,
    drawn_vector,
    embedded_store,
    entry,
    memory_folder,
    vector,
)
from tests.support.processes import python_process
from tidegate.cache.entries import Scored, Selection, StoreError
from tidegate.cache.stores import upkeep
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space, collection_name
from tidegate.chassis.tasks import ServiceFault, TaskGuard

COLLECTION = collection_name(Space("test-1", DIMENSION))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """As pytest has it, and quicker."""
    with memory_folder() as folder:
        yield folder


def parts(directory: Path, kind: str = "") -> list[Path]:
    """The folders of the engine's."""
    found = (directory / COLLECTION).iterdir()
    return sorted(part for part in found if part.is_dir() and part.name.startswith(kind))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def set_aside(directory: Path) -> list[Path]:
    return list(directory.glob("*set-aside-*Z"))


async def settle(directory: Path, *, heads: int = 1) -> None:
    """Until the groomer has done its work."""
    await until(lambda: parts(directory, "settled-") and len(parts(directory, "head-")) == heads)
    await until(lambda: {part.name[:5] for part in parts(directory)} == {"head-", "settl"})


async def fill(store: EmbeddedStore, count: int, *, start: int = 0) -> None:
    draw = np.random.default_rng(start)
    for number in range(start, start + count):
        await store.put(entry(number), drawn_vector(draw))


async def missing(store: EmbeddedStore, numbers: range) -> list[int]:
    return [n for n in numbers if await store.get("acme", entry(n).id, NOW) is None]


async def nearest(store: EmbeddedStore) -> list[Scored]:
    return await store.search(vector(1), tenant="acme", scope="scope-1", now_ms=NOW, limit=3)


async def test_a_restart_keeps_what_was_put(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        await store.put(entry(1), vector(1))
        await store.put(entry(2), None)
        await store.remove(Selection("acme", entry_id=entry(3).id))
    async with embedded_store(tmp_path) as store:
        assert [each.entry for each in await nearest(store)] == [entry(1)]
        assert await store.get("acme", entry(2).id, NOW) == entry(2)


async def test_another_embedder_begins_anew_and_the_former_finds_its_own(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        await store.put(entry(1), vector(1))
    async with embedded_store(tmp_path, dimension=4) as store:
        assert await store.count() == 0
        await store.put(entry(1), np.ones(4, dtype=np.float32))
    async with embedded_store(tmp_path) as store:
        assert [each.entry for each in await nearest(store)] == [entry(1)]


async def test_without_an_embedder_the_same_requests_are_found(tmp_path: Path) -> None:
    async with embedded_store(tmp_path, dimension=0) as store:
        await store.put(entry(1), None)
        assert await store.get("acme", entry(1).id, NOW) == entry(1)


async def test_search_indexes_are_made_beside_the_traffic(tmp_path: Path) -> None:
    """Nothing is missing, late or out of order meanwhile; what is removed stays removed."""
    async with embedded_store(tmp_path, head_entries=100) as store:
        await store.put(entry(10_000), vector(0.999))
        removed = range(0, 410, 10)
        for number in range(410):
            await store.put(entry(number), drawn_vector(np.random.default_rng(number)))
            best, *_ = await nearest(store)
            assert best.entry.id == entry(10_000).id
            if number % 10 == 9:
                gone = entry(number - 9).id
                assert await store.remove(Selection("acme", entry_id=gone)) == 1
            if number % 7 == 0:
                await store.put(entry(number + 1, text="early"), None)
        await settle(tmp_path)
        kept = [number for number in range(410) if number not in removed]
        assert await missing(store, range(410)) == list(removed)
        for number in kept:
            found = await store.get("acme", entry(number).id, NOW)
            assert found == entry(number)
        assert await store.count() == len(kept) + 1
    async with embedded_store(tmp_path) as store:
        assert await missing(store, range(410)) == list(removed)
        assert (await nearest(store))[0].score == pytest.approx(0.999, abs=1e-4)


async def test_where_no_index_can_be_made_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def broken(_: int, target: Path, sources: list[Path], *, idle: bool) -> None:
        calls.append(target)
        raise OSError("no process can be started")

    monkeypatch.setattr(upkeep, "groomer_process", broken)
    async with embedded_store(tmp_path, head_entries=20) as store:
        await fill(store, 50)
        await until(lambda: calls and not calls[-1].exists())
        assert await missing(store, range(50)) == []
        assert await store.remove(Selection("acme", before_ms=NOW + 10)) == 10
        monkeypatch.undo()
        await fill(store, 30, start=50)
        await settle(tmp_path)
        assert await missing(store, range(80)) == list(range(10))


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    async with embedded_store(tmp_path, max_entries=200, head_entries=50) as store:
        await fill(store, 500)
        while await store.count() > 200:
            await asyncio.sleep(0.01)
        assert await store.count() >= 190
        assert await missing(store, range(300)) == list(range(300))
        assert await missing(store, range(310, 500)) == []


async def test_what_has_expired_is_swept(tmp_path: Path) -> None:
    now = [NOW]
    async with embedded_store(
        tmp_path, sweep_seconds=0.05, head_entries=50, clock=lambda: now[0] / 1000
    ) as store:
        for number in range(120):
            await store.put(entry(number, expires_ms=NOW + HOUR * (1 + number % 2)), None)
        await settle(tmp_path)
        now[0] = NOW + HOUR
        while await store.count() > 60:
            await asyncio.sleep(0.01)
        assert await missing(store, range(120)) == list(range(0, 120, 2))
        now[0] = NOW + 2 * HOUR
        # A folder without entries is of no use either.
        await until(lambda: not parts(tmp_path, "settled-"))
        assert await store.count() == 0


async def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        await store.put(entry(1), vector(1))
        guard = TaskGuard()
        space = Space("test-1", DIMENSION)
        second = EmbeddedStore(tmp_path, lambda: space, guard, lock_seconds=0.1)
        with pytest.raises(StoreError, match="in use by another process"):
            await second.open()
        with pytest.raises(ServiceFault, match="in use by another process"):
            await second.start()
        with pytest.raises(StoreError):
            await second.count()
        assert await store.count() == 1
        assert set_aside(tmp_path) == []


async def test_a_directory_that_is_none_is_a_clear_fault(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ServiceFault, match="cache"):
        async with embedded_store(tmp_path / "cache"):
            pass


async def test_a_keeper_that_ends_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        await fill(store, 300)
        killed = store.keeper_pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: store.keeper_pid not in {None, killed})
        assert await missing(store, range(300)) == []
        assert set_aside(tmp_path) == []


async def test_ctrl_c_in_the_terminal_is_not_for_the_keeper(tmp_path: Path) -> None:
    """It would end before the cache has written; its session, by which CPU is shared, is ours."""
    async with embedded_store(tmp_path) as store:
        keeper = store.keeper_pid
        assert keeper is not None
        assert os.getpgid(keeper) == keeper
        assert os.getsid(keeper) == os.getsid(0)


async def test_calls_that_a_keeper_leaves_open_fail_and_do_not_hang(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        killed = store.keeper_pid
        assert killed is not None
        os.kill(killed, signal.SIGSTOP)
        calls = [asyncio.create_task(store.count()) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(killed, signal.SIGKILL)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in results] == [StoreError] * 3
        await until(lambda: store.keeper_pid not in {None, killed})
        assert await store.count() == 0


def overwrite(part: Path) -> None:
    for file in part.rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage" * (file.stat().st_size // 7 + 1))


def truncate(part: Path) -> None:
    """So that a read of what is mapped is a signal, not an error."""
    for file in part.rglob("*.mmap"):
        os.truncate(file, 10)
    for file in part.rglob("page_0.dat"):
        os.truncate(file, 0)


def forget_segments(part: Path) -> None:
    for file in part.rglob("segment.json"):
        file.unlink()


def garble_answers(part: Path) -> None:
    for file in part.rglob("payload_storage/page_0.dat"):
        size = file.stat().st_size
        file.write_bytes(random.Random(1).randbytes(size))


@pytest.mark.parametrize("corrupt", [overwrite, truncate, forget_segments, garble_answers])
async def test_a_corrupted_part_is_set_aside_and_the_rest_goes_on(
    tmp_path: Path, corrupt: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    async with embedded_store(tmp_path, head_entries=200) as store:
        await fill(store, 200)
        await settle(tmp_path)
        await fill(store, 20, start=200)
    (broken,) = parts(tmp_path, "settled-")
    corrupt(broken)
    capsys.readouterr()
    async with embedded_store(tmp_path) as store:
        (aside,) = set_aside(tmp_path)
        assert aside.name.startswith(f"{COLLECTION}.{broken.name}.")
        assert not broken.exists()
        assert await missing(store, range(200, 220)) == []
        assert await missing(store, range(200)) == list(range(200))
        await fill(store, 20)
        assert await missing(store, range(20)) == []
    assert capsys.readouterr().out.count("set aside") == 1
    async with embedded_store(tmp_path) as store:
        assert await store.count() == 40


async def test_what_was_taken_over_and_not_yet_removed_is_not_counted_twice(
    tmp_path: Path,
) -> None:
    """A kill between the two leaves both."""
    async with embedded_store(tmp_path, head_entries=50) as store:
        await fill(store, 40)
        await asyncio.to_thread(shutil.copytree, parts(tmp_path)[0], tmp_path / "former")
        await fill(store, 20, start=40)
        await settle(tmp_path)
    (tmp_path / "former").rename(tmp_path / COLLECTION / "head-000001")
    async with embedded_store(tmp_path) as store:
        assert await store.count() == 60
        assert await missing(store, range(60)) == []


async def test_what_a_crash_left_half_done_is_tidied(tmp_path: Path) -> None:
    async with embedded_store(tmp_path) as store:
        await fill(store, 10)
    folder = tmp_path / COLLECTION
    (folder / "head-000007").mkdir()
    (folder / "settled-000008").mkdir()
    (folder / "making-1" / "sources").mkdir(parents=True)
    (folder / "settled-000002.gone").mkdir()
    (folder / "notes.txt").touch()
    async with embedded_store(tmp_path) as store:
        assert await missing(store, range(10)) == []
        await fill(store, 10, start=10)
    assert [part.name for part in parts(tmp_path)] == ["head-000001", "head-000007"]
    async with embedded_store(tmp_path) as store:
        assert await store.count() == 20


WRITER = """
import asyncio
from pathlib import Path
import numpy as np
from tests.support.cache_stores import drawn_vector, embedded_store, entry
from tidegate.cache.entries import Selection

async def main():
    draw = np.random.default_rng(1)
    async with embedded_store(Path(DIRECTORY), head_entries=60) as store:
        for number in range(START, START + 100_000):
            await store.put(entry(number), drawn_vector(draw))
            if number % 5 == 4:
                await store.remove(Selection("acme", entry_id=entry(number - 2).id))
            print(number, flush=True)

asyncio.run(main())
"""


async def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Four times in a row, while search indexes are made all the time."""
    last = -1
    for turn in range(4):
        script = WRITER.replace("DIRECTORY", repr(str(tmp_path))).replace("START", str(last + 1))
        async with python_process(script) as writer:
            assert writer.stdout is not None
            assert writer.stderr is not None
            until_number = last + 100 + 40 * turn
            while last < until_number:
                line = await writer.stdout.readline()
                assert line, (await writer.stderr.read()).decode()
                last = int(line)
            os.kill(writer.pid, signal.SIGKILL)
            # What it said before it was killed counts too.
            rest = (await writer.stdout.read()).splitlines(keepends=True)
            last = max([last, *(int(line) for line in rest if line.endswith(b"\n"))])
    async with embedded_store(tmp_path, head_entries=60) as store:
        removed = [n for n in range(last + 1) if n % 5 == 2 and n + 2 <= last]
        lost = await missing(store, range(last + 1))
        # The last removal may have been made and not been said.
        assert [n for n in lost if n not in removed and n + 2 != last + 1] == []
        assert [n for n in removed if n not in lost] == []
        assert set_aside(tmp_path) == []
        hit, *_ = await nearest(store)
        assert hit.entry.tenant == "acme"
