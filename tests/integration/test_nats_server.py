"""Without these every other test that kills NATS would prove nothing."""

import asyncio
from pathlib import Path

import nats
import pytest

from tests.support.nats_server import NatsServer


async def stored(server: NatsServer) -> int:
    client = await nats.connect(server.url)
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="S", subjects=["s"])
        return (await jetstream.publish("s", b"x")).seq
    finally:
        await client.close()


async def test_port_and_store_outlive_a_kill(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        url = server.url
        assert await stored(server) == 1
        await server.restart()
        assert server.url == url
        assert await stored(server) == 2
        await server.stop()
        await server.start()
        assert await stored(server) == 3


async def test_it_ends_with_its_block(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        server.freeze()
    assert not server.running
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_a_bad_configuration_fails_with_the_servers_own_words(tmp_path: Path) -> None:
    server = NatsServer(tmp_path, config="no_such_option: 1")
    with pytest.raises(RuntimeError, match="no_such_option"):
        await server.start()


async def test_configuration_reaches_the_server(tmp_path: Path) -> None:
    config = "max_payload: 8MB"
    async with NatsServer(tmp_path, config=config, jetstream="sync_interval: always") as server:
        client = await nats.connect(server.url)
        assert client.max_payload == 8 * 1024 * 1024
        await client.close()
