"""Fixtures that know no room: a free port, a real NATS server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.nats_server import NatsServer
from tests.support.ports import free_port as _free_port


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    return _free_port()


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running NATS server with JetStream, alone with its test."""
    async with NatsServer(tmp_path) as server:
        yield server
