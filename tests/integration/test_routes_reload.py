"""Routes change under a running process: at once where they are good, not at all where not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import SettingsError
from tidegate.chassis.tasks import TaskGuard
from tidegate.providers.routes import Routes
from tidegate.providers.routes_file import RoutesFile


def text(*models: str, provider: str = "{base_url: 'http://p/v1'}") -> str:
    entries = "".join(f"  {m}: {{queue: default, targets: [{{provider: p}}]}}\n" for m in models)
    return f"providers:\n  p: {provider}\nmodels:\n{entries}"


class World:
    """A routes file that is watched; `heard` are the routes that its listener was told of."""

    def __init__(self, path: Path, check: Callable[[Routes], None]) -> None:
        self.path = path
        self.registry = CollectorRegistry()
        self.heard: asyncio.Queue[Routes] = asyncio.Queue()
        self.routes = RoutesFile(path, TaskGuard(), self.registry, check=check)
        self.routes.on_change(self.heard.put_nowait)

    def write(self, content: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(self.path)

    @property
    def stale(self) -> float | None:
        return self.registry.get_sample_value("tidegate_routes_stale")

    async def until_stale(self, value: float) -> None:
        async with asyncio.timeout(30):
            while self.stale != value:
                await asyncio.sleep(0.05)

    async def next_change(self) -> Routes:
        return await asyncio.wait_for(self.heard.get(), 30)


@contextlib.asynccontextmanager
async def watching(
    tmp_path: Path, content: str, check: Callable[[Routes], None] = lambda _: None
) -> AsyncIterator[World]:
    (tmp_path / "routes.yaml").write_text(content, encoding="utf-8")
    world = World(tmp_path / "routes.yaml", check)
    await world.routes.start()
    try:
        yield world
    finally:
        await world.routes.stop(Deadline(1))


async def test_new_routes_are_in_force_and_listeners_told(tmp_path: Path) -> None:
    async with watching(tmp_path, text("a")) as world:
        before = world.routes.current
        world.write(text("a", "b"))
        routes = await world.next_change()
        assert routes is world.routes.current
        assert list(routes) == ["a", "b"]
        assert list(before) == ["a"], "whoever holds the old routes goes on with them"
        assert world.stale == 0


async def test_a_bad_file_is_refused_and_reported_while_the_old_goes_on(tmp_path: Path) -> None:
    async with watching(tmp_path, text("a")) as world:
        with capture_logs() as logs:
            world.write(text("b", provider="{base_url: 'http://me:hunter2@p/v1'}"))
            await world.until_stale(1)
        assert list(world.routes.current) == ["a"]
        (log,) = logs
        assert (log["log_level"], log["event"]) == ("error", "routes stay as they were")
        assert "line 2: providers.p.base_url: holds a secret" in log["reason"]
        assert "hunter2" not in str(logs)
        world.write(text("c"))
        assert list(await world.next_change()) == ["c"]
        await world.until_stale(0)


async def test_a_change_that_means_nothing_disturbs_nobody(tmp_path: Path) -> None:
    async with watching(tmp_path, text("a")) as world:
        before = world.routes.current
        world.write("# Lines move, so that errors name them rightly.\n" + text("a"))
        async with asyncio.timeout(30):
            while world.routes.current is before:
                await asyncio.sleep(0.05)
        assert world.heard.empty()
        assert world.routes.current == before


async def test_routes_whose_key_comes_later_are_taken_when_it_is_there(tmp_path: Path) -> None:
    """Kubernetes brings files of secrets in its own time; nobody touches the routes again."""
    async with watching(
        tmp_path, text("a"), check=lambda routes: routes.require_keys(routes)
    ) as world:
        world.write(text("b", provider="{base_url: 'http://p/v1', api_key_file: key}"))
        await world.until_stale(1)
        assert list(world.routes.current) == ["a"]
        (tmp_path / "key").write_text("k", encoding="utf-8")
        assert list(await world.next_change()) == ["b"]
        await world.until_stale(0)


async def test_a_config_map_that_is_swapped_is_seen(tmp_path: Path) -> None:
    """Kubernetes renames a link to a folder; the file's own link never changes."""
    for name, model in (("v1", "a"), ("v2", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "routes.yaml").write_text(text(model), encoding="utf-8")
    (tmp_path / "data").symlink_to("v1")
    (tmp_path / "routes.yaml").symlink_to("data/routes.yaml")
    world = World(tmp_path / "routes.yaml", lambda _: None)
    await world.routes.start()
    assert list(world.routes.current) == ["a"]
    (tmp_path / "fresh").symlink_to("v2")
    (tmp_path / "fresh").rename(tmp_path / "data")
    assert list(await world.next_change()) == ["b"]
    await world.routes.stop(Deadline(1))


@pytest.mark.parametrize("content", ["models: {", text("a", provider="{base_url: ftp}")])
async def test_without_routes_nothing_begins(tmp_path: Path, content: str) -> None:
    (tmp_path / "routes.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"routes\.yaml, line"):
        RoutesFile(tmp_path / "routes.yaml", TaskGuard(), CollectorRegistry())
    with pytest.raises(SettingsError, match=r"missing\.yaml: cannot be read"):
        RoutesFile(tmp_path / "missing.yaml", TaskGuard(), CollectorRegistry())
