"""Upkeep of an embedded store whose disk or keeper hangs: users can delete, and it goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.cache.entries import StoreError
from tidegate.cache.stores import upkeep
from tidegate.cache.stores.folder import Folder
from tidegate.cache.stores.keeper_process import KeeperProcess
from tidegate.cache.stores.upkeep import Upkeep


class ScriptedKeeper:
    """Answers as it is told, and notes what it was asked, and whether removals had to wait."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, bool]] = []
        self.is_copying: Callable[[], bool] = lambda: False

    async def call(self, method: str, **_: Any) -> Any:
        self.asked.append((method, self.is_copying()))
        # Others have their turn, as they do while a process answers.
        await asyncio.sleep(0)
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer


def upkeep_of(directory: Path, keeper: ScriptedKeeper) -> Upkeep:
    folder = Folder(directory, "cache")
    folder.make()
    made = Upkeep(
        folder,
        8,
        lambda: cast(KeeperProcess, keeper),
        max_entries=10,
        head_entries=1,
        now_ms=lambda: 0,
    )
    keeper.is_copying = made.copying.locked
    return made


class SilentGroomer:
    async def copied(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("abandoned", [None, StoreError("too many calls wait")])
async def test_a_copy_that_hangs_is_given_up_and_removals_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abandoned: StoreError | None
) -> None:
    """They would answer 503 for ten minutes; and must not go on before the copy is abandoned."""
    keeper = ScriptedKeeper(freeze=["head-000001"], abandon=abandoned)
    made = upkeep_of(tmp_path, keeper)
    removable: list[bool] = []

    @contextlib.asynccontextmanager
    async def groomer(*_: Any, idle: bool) -> AsyncIterator[SilentGroomer]:
        assert idle
        try:
            yield SilentGroomer()
        finally:
            # One that waits for its disk takes long to kill: nobody waits for that.
            removable.append(not made.copying.locked())

    monkeypatch.setattr(upkeep, "groomer_process", groomer)
    monkeypatch.setattr(upkeep, "_COPY_SECONDS", 0.05)
    made.told(head_puts=1, total=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await made.groom()
    assert keeper.asked[:2] == [("freeze", True), ("abandon", True)]
    assert removable == [True]
    assert list((tmp_path / "cache").iterdir()) == []


async def test_a_groomer_that_never_has_its_turn_is_followed_by_one_that_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is ever idle, entries would be compared one by one for ever."""
    made = upkeep_of(tmp_path, ScriptedKeeper(freeze=["head-000001"], abandon=None))
    asked: list[bool] = []

    @contextlib.asynccontextmanager
    async def groomer(*_: Any, idle: bool) -> AsyncIterator[SilentGroomer]:
        asked.append(idle)
        yield SilentGroomer()

    monkeypatch.setattr(upkeep, "groomer_process", groomer)
    monkeypatch.setattr(upkeep, "_IDLE_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "_GROOM_SECONDS", 0.05)
    for _ in range(2):
        made.told(head_puts=1, total=1)
        with pytest.raises(TimeoutError):
            await made.groom()
    assert asked == [True, False]


async def test_a_keeper_that_removes_the_same_for_ever_does_not_stop_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = ScriptedKeeper(sweep=200, empty=[])
    monkeypatch.setattr(upkeep, "_MOST_STEPS", 5)
    async with asyncio.timeout(5):
        assert await upkeep_of(tmp_path, keeper).sweep() == 1_000


async def test_where_nothing_is_left_to_evict_it_ends(tmp_path: Path) -> None:
    keeper = ScriptedKeeper(count=500, evict=0)
    async with asyncio.timeout(5):
        assert await upkeep_of(tmp_path, keeper).evict() == 0
    assert [method for method, _ in keeper.asked] == ["count", "evict"]
