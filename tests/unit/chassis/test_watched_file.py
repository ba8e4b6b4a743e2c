"""A watched file: what is bad is said and kept out, what is good comes in, without a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tidegate.chassis import watched_file
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault, TaskGuard
from tidegate.chassis.watched_file import WatchedFile


class BadError(Exception):
    pass


class Watch:
    """A watched file of numbers, and what became of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.guard = TaskGuard()
        self.taken: list[int] = []
        self.stale: list[bool] = []
        self._changed = asyncio.Event()
        self.file = WatchedFile(
            "numbers",
            path,
            self.guard,
            parse=self._parse,
            take=self._take,
            refusal=BadError,
            on_stale=self._hear,
        )

    def write(self, text: str) -> None:
        """As it should be done: beside, then renamed."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.path)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def _parse(self, content: bytes) -> int:
        try:
            return int(content)
        except ValueError as error:
            raise BadError(f"{self.path}: not a number") from error

    def _take(self, number: int) -> None:
        self.taken.append(number)

    def _hear(self, stale: bool) -> None:
        self.stale.append(stale)
        self._changed.set()


@pytest.fixture
async def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watch]:
    monkeypatch.setattr(watched_file, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watched_file, "_SETTLE_SECONDS", 0.01)
    (tmp_path / "file").write_text("1", encoding="utf-8")
    watch = Watch(tmp_path / "file")
    await watch.file.start()
    yield watch
    await watch.file.stop(Deadline(1))
    await watch.guard.cancel_all()


async def test_a_changed_file_comes_into_force_by_itself(watch: Watch) -> None:
    assert watch.taken == [1]
    watch.write("2")
    await watch.until(lambda: watch.taken == [1, 2])
    assert watch.stale[-1] is False


async def test_a_bad_file_is_said_once_and_the_old_one_goes_on(watch: Watch) -> None:
    with capture_logs() as logs:
        watch.write("x")
        await watch.until(lambda: watch.stale[-1])
        watch.write("y")
        await watch.until(lambda: watch.stale.count(True) == 2)
    assert watch.taken == [1]
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("error", "numbers stay as they were")
    ]
    assert "not a number" in logs[0]["reason"]
    watch.write("3")
    await watch.until(lambda: watch.taken == [1, 3])
    with capture_logs() as logs:
        watch.write("z")
        await watch.until(lambda: watch.stale[-1])
    assert len(logs) == 1, "after a good file the same fault is a new one"


async def test_a_file_that_went_is_taken_again_when_it_is_back(watch: Watch) -> None:
    aside = watch.path.with_suffix(".aside")
    with capture_logs() as logs:
        watch.path.rename(aside)
        await watch.until(lambda: watch.stale.count(True) > 2)
    assert len(logs) == 1
    assert "No such file" in logs[0]["reason"]
    aside.rename(watch.path)
    await watch.until(lambda: not watch.stale[-1])
    assert set(watch.taken) == {1}


async def test_what_was_forgotten_is_read_again_unchanged(watch: Watch) -> None:
    watch.file.forget()
    await watch.until(lambda: watch.taken == [1, 1])


async def test_a_file_that_cannot_be_used_keeps_a_service_from_starting(tmp_path: Path) -> None:
    with pytest.raises(ServiceFault, match="No such file"):
        await Watch(tmp_path / "file").file.start()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ServiceFault, match="not a number"):
        await Watch(tmp_path / "file").file.start()


async def test_a_file_that_is_being_written_is_left_to_settle(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look finds it changed again: nothing of it may come into force."""
    looks = 0
    settled = asyncio.Event()
    really = watched_file._mark_of

    def restless(path: Path) -> tuple[int, ...]:
        nonlocal looks
        looks += 1
        if looks > 40:
            settled.set()
            return really(path)
        return (looks,)

    monkeypatch.setattr(watched_file, "_mark_of", restless)
    watch.write("2")
    async with asyncio.timeout(30):
        await settled.wait()
    assert watch.taken == [1]
    await watch.until(lambda: watch.taken == [1, 2])
