"""What tests of several rooms stand on: a world with the streams, streaming, a whole platform."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.clients import Door, Node, node
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.platform import Platform
from tests.support.services import MakeStreaming, StreamingProcess


@pytest.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[LogWorld]:
    """The streams of a Tidegate, and who writes jobs and logs into them."""
    async with LogWorld(nats_server.url) as made:
        yield made


@pytest.fixture
async def make_streaming(
    world: LogWorld, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[MakeStreaming]:
    """Starts streaming with a test's settings; in the end no process may have complained."""
    del world  # Without its streams no process would become ready.
    made: list[StreamingProcess] = []
    async with contextlib.AsyncExitStack() as stack:

        async def make(**settings: object) -> StreamingProcess:
            url = str(settings.pop("nats_url", nats_server.url))
            process = StreamingProcess(url, tmp_path, **settings)
            made.append(await stack.enter_async_context(process))
            return process

        yield make
        assert [process.complaints() for process in made] == [[]] * len(made)


@pytest.fixture
async def streaming(make_streaming: MakeStreaming) -> StreamingProcess:
    """One process with the defaults; a module with needs of its own has a fixture of its own."""
    return await make_streaming()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_platform(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """One `tidegate up` for all tests that need a whole platform, and the model's own answers."""
    directory = tmp_path_factory.mktemp("up")
    async with Platform(directory, "--workers", "2", "--no-cache") as running:
        yield running


@pytest.fixture
async def platform(shared_platform: Platform) -> Platform:
    """The shared platform, recovered from whatever the test before did to it."""
    for service in ("gateway health", "streaming health", "worker health"):
        await shared_platform.until_ready(service)
    return shared_platform


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """One platform for all tests of stock clients."""
    async with Door(tmp_path_factory.mktemp("door")) as running:
        yield running


@pytest.fixture
async def door(shared_door: Door) -> Door:
    """The clients' platform, idle, with nothing counted and no faults."""
    await shared_door.simulator.settled()
    await shared_door.simulator.reset()
    return shared_door


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node_clients() -> AsyncIterator[Node]:
    """Node with the JavaScript clients; the test is skipped where Node is missing."""
    async with node() as made:
        yield made
